"""Faust made safe and fast for one log: corrections and lean paths as subclasses, none of it a patch.

They reach into private parts of exactly these versions; with others they would silently not apply.
"""

from __future__ import annotations

from agents.transport.versions import check_versions

check_versions()
