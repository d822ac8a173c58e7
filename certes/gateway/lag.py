"""How far the fold is behind, as the workers say: beyond a bound the gateway takes no more, since the fold comes first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from certes.access import cluster_token
from certes.config import Member
from certes.errors import Unavailable
from certes.internal import LAG_PATH

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
TIMEOUT = ClientTimeout(total=2.0)


class Lag:
    """Asks all workers twice a second. `workers` are those that the configuration names at the moment."""

    def __init__(self, *, workers: Callable[[], Sequence[Member]], cluster_key: bytes, most_seconds: float) -> None:
        self._workers = workers
        self._headers = {"Authorization": f"Bearer {cluster_token(cluster_key)}"}
        self._most = most_seconds
        self._seconds: dict[str, float] = {}
        self._polling: asyncio.Task[None] | None = None

    @property
    def answering(self) -> frozenset[str]:
        """The ids of the workers that have answered the last time."""
        return frozenset(self._seconds)

    def refuse_if_behind(self) -> None:
        """Raises Unavailable. Workers that do not answer are no reason: the log takes events without them."""
        behind = max(self._seconds.values(), default=0.0)
        if behind > self._most:
            raise Unavailable(f"the fold is {behind:.1f} s behind, more than {self._most:g} s", retry_after=behind)

    def start(self) -> None:
        self._polling = asyncio.create_task(self._poll(), name="lag")

    async def stop(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling

    async def _poll(self) -> None:
        async with ClientSession(headers=self._headers, timeout=TIMEOUT) as session:
            while True:
                workers = self._workers()
                answers = await asyncio.gather(*[self._ask(session, worker) for worker in workers])
                known = zip(workers, answers, strict=True)
                self._seconds = {worker.id: answer for worker, answer in known if answer is not None}
                await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, session: ClientSession, worker: Member) -> float | None:
        """None when there is no answer; the reason is told once, when it is news."""
        try:
            async with session.get(worker.url + LAG_PATH, allow_redirects=False) as response:
                response.raise_for_status()
                return float(orjson.loads(await response.read())["lag_seconds"])
        except (ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            if worker.id in self._seconds:
                logger.warning("worker %s does not answer: %r", worker.id, error, extra={"action": "lag"})
            return None
