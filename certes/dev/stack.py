"""Starts programs in stages, keeps them running, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Self

from certes.clock import Clock
from certes.dev.child import Child, ChildSpec
from certes.dev.directory import Directory
from certes.dev.restarts import Restarts
from certes.errors import Fatal

logger = logging.getLogger(__name__)

Stage = Sequence[ChildSpec]


def _say_nothing(_text: str) -> None:
    pass


class Stack:
    """`async with Stack(...)`: the programs of a stage start side by side, the next stage when all of them answer.

    They stop one after the other, the last one first. A program that dies after the start is started again with
    back-off; `say` hears of it. Raises Fatal when a program does not come up.
    """

    def __init__(
        self,
        directory: Directory,
        stages: Sequence[Stage],
        *,
        clock: Clock | None = None,
        say: Callable[[str], None] = _say_nothing,
    ) -> None:
        self._stages = [[Child(spec, directory) for spec in stage] for stage in stages]
        self._clock = clock or Clock()
        self._say = say
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            for stage in self._stages:
                await _together(stage)
                self._keepers += [asyncio.create_task(self._keep(child)) for child in stage]
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def run(self) -> None:
        """Waits until cancelled. Raises what made it impossible to go on starting a program again."""
        await asyncio.gather(*self._keepers)

    async def stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for child in reversed([child for stage in self._stages for child in stage]):
            await child.stop()

    async def _keep(self, child: Child) -> None:
        restarts = Restarts()
        while True:
            began = self._clock.monotonic()
            code = await child.ended()
            restarts = restarts.died(self._clock.monotonic() - began)
            self._say(
                f"{child.spec.name} ended with code {code}; starting it again in {restarts.delay:g} s ({child.log})"
            )
            logger.warning("%s died, code %s", child.spec.name, code, extra={"action": "restart"})
            await asyncio.sleep(restarts.delay)
            await child.start()


async def _together(stage: Sequence[Child]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for child in stage:
                group.create_task(_up(child))
    except* Fatal as failures:
        raise failures.exceptions[0] from None


async def _up(child: Child) -> None:
    await child.start()
    await child.ready()
