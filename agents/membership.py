"""Tells the others which partitions this worker owns, and, where it writes the configuration, takes out the dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from certes.clock import Clock, rfc3339
from certes.config import Config, Member
from certes.config_writer import ConfigWriter
from certes.errors import Unavailable

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 5.0
AGAIN_SECONDS = 1.0


class Membership:
    """Announces what `owns` said last, as often as it takes: recovery must not wait for the config log."""

    def __init__(
        self, *, writer: ConfigWriter, config: Callable[[], Config], member_id: str, url: str, clock: Clock
    ) -> None:
        self._writer = writer
        self._config = config
        self._member = Member(id=member_id, role="worker", url=url, since=rfc3339(clock.now()))
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._news.set()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="membership")

    def owns(self, partitions: Iterable[int]) -> None:
        self._member = self._member.model_copy(update={"partitions": tuple(sorted(partitions))})
        self._news.set()

    async def stop(self) -> None:
        """Say goodbye, so that nobody waits for this worker."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        try:
            await self._writer.withdraw(self._member.id)
        except Unavailable as error:
            logger.warning("could not say goodbye: %s", error, extra={"action": "withdraw"})

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), SWEEP_SECONDS)
            self._news.clear()
            try:
                await self._tell()
                await self._writer.sweep()
            except Unavailable as error:
                logger.warning("the others do not know yet: %s", error, extra={"action": "announce"})
                self._news.set()
                await asyncio.sleep(AGAIN_SECONDS)

    async def _tell(self) -> None:
        """Also again, when somebody took this worker for dead."""
        if self._config().members.get(self._member.id) != self._member:
            await self._writer.announce(self._member)
