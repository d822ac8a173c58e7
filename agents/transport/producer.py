"""Writing: idempotent, only while the lease holds, and never shrugged off.

Faust's flush gives up after 0.1 s, and a failed send is only logged: both would commit offsets whose rows are nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from faust.exceptions import ProducerSendError
from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import ProducerBuffer
from faust.types import FutureMessage, HeadersArg, RecordMetadata

from agents.transport.changelog import ChangelogWriter
from agents.transport.end import Die
from agents.transport.lease import Lease
from certes.errors import TooLarge


def fence(producer: AIOKafkaProducer, lease: Lease) -> None:
    """Check the lease at the last moment before records go out, retries and old batches included."""
    sender: Any = producer._sender  # noqa: SLF001 - aiokafka has no hook between its queue and the network
    send = sender._send_produce_req  # noqa: SLF001

    async def send_if_held(node_id: int, batches: Any) -> None:
        lease.check()
        await send(node_id, batches)

    sender._send_produce_req = send_if_held  # noqa: SLF001 - this one instance, not the class


class Buffer(ProducerBuffer):
    """What is sent by `send_soon`: in nobody's hot path here, but part of each flush."""

    max_messages = 5000  # Faust stops reading at 100

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sending = 0

    async def flush(self) -> None:
        while self.size or self._sending:
            if self.state != "running":
                raise RuntimeError(f"{self.size} messages cannot be flushed: the producer is {self.state}")
            await asyncio.sleep(0.002)

    async def _send_pending(self, fut: FutureMessage) -> None:
        self._sending += 1
        try:
            await super()._send_pending(fut)
        finally:
            self._sending -= 1


class Producer(driver.Producer):
    """`send` and `send_and_wait` raise TooLarge; any other failure ends the process."""

    changelog: ChangelogWriter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = Buffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app

    @property
    def _die(self) -> Die:
        return cast("Die", cast("Any", self.app).die)

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        producer = super()._new_producer(transactional_id)
        fence(producer, cast("Any", self.app).lease)
        return producer

    async def on_start(self) -> None:
        await super().on_start()
        self.changelog = ChangelogWriter(self._ensure_producer(), batch_bytes=self.max_batch_size, die=self._die)

    async def flush(self) -> None:
        """Wait until Kafka has acknowledged all that was put and sent before."""
        if self._producer is not None:
            await self.changelog.flush()
            await super().flush()

    async def send(  # noqa: PLR0917 - Faust's signature
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Cancelling what is returned does not hide a failure."""
        try:
            sent = await super().send(
                topic, key, value, partition, timestamp, headers, transactional_id=transactional_id
            )
        except ProducerSendError as exc:
            if isinstance(exc.__cause__, MessageSizeTooLargeError):
                raise TooLarge(f"a record for {topic} is too large: {exc.__cause__}") from exc
            self._die(f"a record could not be sent to {topic}: {exc.__cause__!r}")
        future = cast("asyncio.Future[RecordMetadata]", sent)
        future.add_done_callback(lambda done: self._settle(topic, done))
        return asyncio.shield(future)

    def _settle(self, topic: str, done: asyncio.Future[RecordMetadata]) -> None:
        if not done.cancelled() and (error := done.exception()):
            self._die(f"Kafka did not take a record for {topic}: {error!r}")
