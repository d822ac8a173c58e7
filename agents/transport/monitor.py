"""Statistics that nobody reads cost more than the work they count: Faust's monitor, silent.

Certes counts for itself. The levels below are for the same reason: a debug call per record, an info line per request.
"""

from __future__ import annotations

import logging
from typing import Any

from faust.sensors import Monitor

LEVELS = {"aiokafka": logging.WARNING, "faust": logging.WARNING, "mode": logging.WARNING, "agents": logging.INFO}


class SilentMonitor(Monitor):
    def on_message_in(self, *args: Any) -> None:
        """Not counted, like all below."""

    def on_message_out(self, *args: Any) -> None: ...

    def on_stream_event_in(self, *args: Any) -> None: ...

    def on_stream_event_out(self, *args: Any) -> None: ...

    def on_send_initiated(self, *args: Any) -> None: ...

    def on_send_completed(self, *args: Any) -> None: ...

    def on_topic_buffer_full(self, *args: Any) -> None: ...

    def on_tp_commit(self, *args: Any) -> None: ...

    def track_tp_end_offset(self, *args: Any) -> None: ...


def set_levels() -> None:
    """Make the loggers of what runs below us speak up only when something is wrong."""
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
