"""Appending to a topic: what is acknowledged here is in Kafka, on every replica in sync.

The gateway appends events by it, and workers commands.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from certes.errors import TooLarge, Unavailable

logger = logging.getLogger(__name__)

MAX_RECORD_BYTES = 2 << 20
#: Who waits longer for Kafka is told to come again; below the ten seconds after which GitHub hangs up.
ACK_SECONDS = 8.0
STOP_SECONDS = 10.0
LINGER_MS = 2
BATCH_BYTES = 256 << 10

_MASK = 0xFFFFFFFF
_MURMUR = 0x5BD1E995
_SEED = 0x9747B28C


class EventLog:
    """An idempotent producer for one topic that comes back by itself after whatever ended it."""

    def __init__(self, *, kafka: str, topic: str, ack_seconds: float = ACK_SECONDS) -> None:
        self._kafka = kafka
        self._topic = topic
        self._ack_seconds = ack_seconds
        self._producer: AIOKafkaProducer | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises Unavailable when Kafka does not answer."""
        self._producer = await self._connect()

    async def stop(self) -> None:
        """Wait for what is on its way, at most ten seconds."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing
        producer, self._producer, self._renewing = self._producer, None, None
        if producer is not None:
            await _close(producer)

    async def append(
        self,
        *,
        value: bytes | None,
        key: bytes,
        partition: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> tuple[int, int]:
        """Write a record and wait until Kafka has acknowledged it. Answers (partition, offset).

        The offset is -1 when Kafka had the record already from an attempt whose answer was lost. Raises Unavailable
        when there is no acknowledgement in time (the record may be there nevertheless), TooLarge over 2 MiB.
        """
        producer = self._producer
        if producer is None:
            raise Unavailable(f"Kafka {self._kafka} is not connected")
        try:
            async with asyncio.timeout(self._ack_seconds):
                sent = await producer.send(self._topic, value, key, partition, headers=headers)
                done = await sent
        except MessageSizeTooLargeError as error:
            raise TooLarge(f"a record has at most {MAX_RECORD_BYTES} bytes with its headers") from error
        except TimeoutError as error:
            raise Unavailable(f"Kafka has not acknowledged within {self._ack_seconds:g} s", retry_after=5) from error
        except KafkaError as error:
            self._renew(producer, error)
            raise Unavailable(f"Kafka refused a record: {type(error).__name__}") from error
        return done.partition, done.offset

    async def answers(self, *, seconds: float = 2.0) -> bool:
        """Whether Kafka answers at this moment."""
        if self._producer is None:
            return False
        try:
            async with asyncio.timeout(seconds):
                return bool(await self._producer.client.force_metadata_update())
        except (TimeoutError, KafkaError):
            return False

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=int(self._ack_seconds * 1000),
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await _close(producer)
            raise Unavailable(f"Kafka {self._kafka} does not answer: {error}") from error
        return producer

    def _renew(self, broken: AIOKafkaProducer, error: KafkaError) -> None:
        """A failed batch leaves a gap in the sequence numbers of its partition, after which Kafka refuses all others;
        aiokafka does not recover from it. So the producer is replaced.
        """
        if self._producer is not broken:
            return
        logger.warning("the producer of %s is replaced: %r", self._topic, error, extra={"action": "producer_renew"})
        self._producer = None
        self._renewing = asyncio.create_task(self._replace(broken), name=f"renew-producer-{self._topic}")

    async def _replace(self, broken: AIOKafkaProducer) -> None:
        await _close(broken)
        while True:
            try:
                self._producer = await self._connect()
            except Unavailable as error:
                logger.warning("no new producer yet: %s", error, extra={"action": "producer_renew"})
                await asyncio.sleep(1)
            else:
                return


def partition_for(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own producers choose for a key (murmur2), so that ours and theirs agree."""
    words = len(key) >> 2
    state = _SEED ^ len(key)
    for word in struct.unpack_from(f"<{words}I", key):
        mixed = word * _MURMUR & _MASK
        state = state * _MURMUR & _MASK ^ (mixed ^ mixed >> 24) * _MURMUR & _MASK
    if len(key) & 3:
        state = (state ^ int.from_bytes(key[words << 2 :], "little")) * _MURMUR & _MASK
    state = (state ^ state >> 13) * _MURMUR & _MASK
    return ((state ^ state >> 15) & 0x7FFFFFFF) % partitions


async def _close(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await producer.stop()
    except (TimeoutError, KafkaError) as error:
        logger.warning("a producer did not end cleanly: %r", error, extra={"action": "producer_stop"})
