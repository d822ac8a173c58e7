"""Records of one fetch of one partition as one Faust message: one event, one acknowledgement for up to 200 records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

from aiokafka.structs import ConsumerRecord
from faust.types import TP, StreamT
from faust.types.transports import ConsumerT
from faust.types.tuples import ConsumerMessage

RECORDS = 200


class Chunk(ConsumerMessage):
    """`records` are aiokafka's, in log order, never empty; `offset` is the last one's."""

    __slots__ = ("records",)

    def __init__(self, tp: TP, records: Sequence[ConsumerRecord], generation_id: int) -> None:
        last = records[-1]
        super().__init__(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            headers=None,
            key=None,
            value=None,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=tp,
            generation_id=generation_id,
        )
        self.records = records

    def on_final_ack(self, consumer: ConsumerT) -> bool:
        """Faust's Python stream (no compiled extension) acknowledges stale events that it skips: they never got as far
        as being tracked.
        """
        return self.tracked and consumer.ack(self)


def cut(tp: TP, records: Sequence[ConsumerRecord], generation_id: int) -> Iterator[Chunk]:
    for start in range(0, len(records), RECORDS):
        yield Chunk(tp, records[start : start + RECORDS], generation_id)


async def chunks(stream: StreamT[Any]) -> AsyncIterator[Chunk]:
    """The chunks of a log topic, for the body of an agent. One is acknowledged when the next is asked for, and only
    then: Faust itself acknowledges an event whose body raised or was cancelled.
    """
    stream.enable_acks = False
    async for event in stream.events():
        yield cast("Chunk", event.message)
        event.ack()
