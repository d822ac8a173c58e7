"""Runnable examples. Each starts what it needs, shows what happened, and leaves nothing running."""
