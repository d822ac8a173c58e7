"""A schema for topics whose bytes nobody but us decodes.

Faust acknowledges a record that it cannot decode, drops it and restarts the agent, and a table with the codec `raw`
never recovers. So nothing is decoded between Kafka and our own code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.types import AppT, EventT, Message


class RawSchema(faust.Schema[Any, Any]):
    """Hands every message on as it is: bytes or None for key and value."""

    def compile(self, app: AppT, **_handlers: Any) -> Callable[..., Awaitable[EventT[Any]]]:
        create_event = app.create_event

        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:  # noqa: ARG001 - Faust's signature
            return create_event(message.key, message.value, None, message)

        return decode
