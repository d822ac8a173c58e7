"""Remembers answers like DNS: each for its time, refusals shortly, old ones longer while nobody answers."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from certes.clock import Clock
from certes.errors import Refused, Unavailable

logger = logging.getLogger(__name__)

#: Refusals are believed this long, and this long after a failed attempt the next one is made.
NEGATIVE_SECONDS = 5.0
#: An old answer is believed this much longer after each failed attempt at a new one.
STALE_SECONDS = 60.0
FOREVER = math.inf

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """An answer or the reason why there is none, with the moments (monotonic) that it is renewed and forgotten at."""

    answer: V | Refused
    renew_at: float
    expires_at: float


class Memory(Generic[K, V]):
    """Answers of `ask` by key, at most `limit` of them, each for `seconds_of(answer)`.

    An answer in use is renewed in the background from half of its time on, so that only the first asker waits.
    """

    def __init__(
        self,
        ask: Callable[[K], Awaitable[V]],
        seconds_of: Callable[[V], float],
        *,
        limit: int,
        clock: Clock,
    ) -> None:
        self._ask = ask
        self._seconds_of = seconds_of
        self._limit = limit
        self._clock = clock
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()
        self._asking: dict[K, asyncio.Task[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()
        #: Since when (monotonic) no answer has been had; None while they come.
        self.failing_since: float | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, key: K) -> V | Refused | None:
        """What is known without asking, None if nothing is. Needs a running loop once an answer ages."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._clock.monotonic()
        if now >= entry.renew_at:
            if now >= entry.expires_at:
                return None
            self._start(key)
        self._entries.move_to_end(key)
        return entry.answer

    async def get(self, key: K) -> V:
        """The answer, asked for if need be, once for all who wait. Raises what `ask` raises."""
        answer = self.peek(key)
        if answer is None:
            # Shielded: one asker that gives up must not take the answer from the others.
            return await asyncio.shield(self._start(key))
        if isinstance(answer, Refused):
            raise answer.with_traceback(None)
        return answer

    def forget(self, keep: Callable[[V | Refused], bool]) -> None:
        """Drop all answers but those to keep; what is being asked for just now is asked again next time."""
        self._entries = OrderedDict((key, entry) for key, entry in self._entries.items() if keep(entry.answer))
        self._asking.clear()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, key: K) -> asyncio.Task[V]:
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(self._renew(key))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return task

    async def _renew(self, key: K) -> V:
        me = asyncio.current_task()
        try:
            answer = await self._ask(key)
        except Unavailable:
            if self.failing_since is None:
                self.failing_since = self._clock.monotonic()
            if (old := self._prolonged(key)) is None:
                raise
            return old
        except Refused as refusal:
            self._answered(key, refusal, NEGATIVE_SECONDS, asked_by=me)
            raise
        else:
            self._answered(key, answer, self._seconds_of(answer), asked_by=me)
            return answer
        finally:
            if self._asking.get(key) is me:
                del self._asking[key]

    def _answered(self, key: K, answer: V | Refused, seconds: float, *, asked_by: asyncio.Task[V] | None) -> None:
        self.failing_since = None
        if self._asking.get(key) is not asked_by:
            return  # forgotten meanwhile: the answer may be from before the change
        now = self._clock.monotonic()
        self._entries[key] = Entry(answer, now + seconds / 2, now + seconds)
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def _prolonged(self, key: K) -> V | None:
        """The answer of before, believed for a little longer."""
        old = self._entries.get(key)
        if old is None or isinstance(old.answer, Refused):
            return None
        now = self._clock.monotonic()
        self._entries[key] = Entry(old.answer, now + NEGATIVE_SECONDS, max(now + STALE_SECONDS, old.expires_at))
        return old.answer

    def _ended(self, task: asyncio.Task[V]) -> None:
        self._tasks.discard(task)
        # Nobody may be waiting for a renewal in the background, so its failure is told here.
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("no answer: %s", error, extra={"action": "registry_refused"})
