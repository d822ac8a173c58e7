"""`python -m certes` is the command `certes`."""

from __future__ import annotations

from certes.cli import main

main()
