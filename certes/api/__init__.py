"""The Master API, the only way to read or change state. It runs inside each worker, over the ports of `ports`."""

from __future__ import annotations

from certes.api.app import create_api
from certes.api.ports import Deps

__all__ = ["Deps", "create_api"]
