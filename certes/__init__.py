"""Certes: a self-hosted heterogeneous event bus."""

from __future__ import annotations

__version__ = "0.1.0"
