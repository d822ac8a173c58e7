"""What Certes is measured against: a loop from aiokafka to an aiohttp POST, without anything that makes it safe."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiokafka import AIOKafkaConsumer

IN_FLIGHT = 64


async def main(kafka: str, topic: str, url: str, count: int) -> None:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    gate = asyncio.Semaphore(IN_FLIGHT)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(value: bytes) -> None:
            async with gate, session.post(url, data=value, headers={"content-type": "application/json"}) as response:
                await response.read()

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                record = await consumer.getone()
                await gate.acquire()
                gate.release()
                group.create_task(post(record.value))
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
