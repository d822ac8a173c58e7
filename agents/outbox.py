"""The outbox: outcomes of some milliseconds go onto the log as one record per partition, and are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from certes.delivery import Outcome
from schemas.own import encode_outcomes

LINGER_SECONDS = 0.01

Append = Callable[[int, bytes], Awaitable[object]]


@dataclass(slots=True)
class _Batch:
    sent: asyncio.Future[None]
    outcomes: list[Outcome] = field(default_factory=list)


class Outbox:
    """`append` puts one record of outcomes on a partition and answers when Kafka has acknowledged it."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._batches: dict[int, _Batch] = {}
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether outcomes are on their way to the log."""
        return bool(self._batches or self._sending)

    async def post(self, partition: int, outcome: Outcome) -> None:
        """Put an outcome on the log. Returns when it is there."""
        batch = self._batches.get(partition)
        if batch is None:
            loop = asyncio.get_running_loop()
            batch = self._batches[partition] = _Batch(loop.create_future())
            loop.call_later(LINGER_SECONDS, self._close, partition)
        batch.outcomes.append(outcome)
        # Shielded: others wait for the same record, and this outcome is sent whoever gives up waiting.
        await asyncio.shield(batch.sent)

    def _close(self, partition: int) -> None:
        batch = self._batches.pop(partition)
        task = asyncio.get_running_loop().create_task(self._send(partition, batch), name=f"outcomes-{partition}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, partition: int, batch: _Batch) -> None:
        try:
            for value in encode_outcomes(batch.outcomes):
                await self._append(partition, value)
        except asyncio.CancelledError:
            batch.sent.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where the outcomes came from
            batch.sent.set_exception(error)
            batch.sent.exception()  # those who waited may have gone; the producer has told the reason
        else:
            batch.sent.set_result(None)
