"""`/api/stats`: the whole bus at a glance, added up from what each worker says of itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from aiohttp import web

from certes.api.paging import Item
from certes.api.ports import QueueLine
from certes.api.rendering import queue_json
from certes.api.view import ApiView, answer


class Stats(ApiView):
    resource = "config"

    async def get(self) -> web.Response:
        own = await self._own()
        if self.caller.hop:
            return answer(own)
        others = await self.cluster.ask_others(self.request, actor=self.caller.actor.name)
        return answer(self._total([own, *others]))

    async def _own(self) -> Item:
        """What this worker knows of its partitions."""
        tables, status = self.deps.tables, self.deps.status()
        partitions = sorted(tables.partitions)
        queues = await asyncio.gather(*(tables.queue(one) for one in partitions))
        states = await asyncio.gather(*(tables.states(one) for one in partitions))
        lag = [{"partition": one, "records": status.lag.get(one, 0)} for one in partitions]
        return {
            "id": self.deps.settings.worker.id,
            "partitions": partitions,
            "queue": [list(line) for lines in queues for line in lines],
            "events": _added(states),
            "in_flight": dict(status.in_flight),
            "mailbox": status.mailbox,
            "fold": dict(status.fold),
            "lag": lag,
            "lag_seconds": status.lag_seconds,
        }

    def _total(self, workers: list[Item]) -> Item:
        queue = _queue(QueueLine(*line) for one in workers for line in one["queue"])
        due = [line.oldest_due for line in queue]
        total = {
            "queue": [queue_json(line) for line in queue],
            "oldest_due_at": queue_json(min(queue, key=lambda line: line.oldest_due))["oldest_due_at"] if due else None,
            "events": _added(one["events"] for one in workers),
            "in_flight": _added(one["in_flight"] for one in workers),
            "mailbox": sum(one["mailbox"] for one in workers),
            "fold": _added(one["fold"] for one in workers),
            "lag": sorted((line for one in workers for line in one["lag"]), key=lambda line: int(line["partition"])),
            "limits": self._limits(),
            "workers": self._workers(workers),
        }
        missing = self.cluster.missing({partition for one in workers for partition in one["partitions"]})
        return {**total, "missing": missing} if missing else total

    def _limits(self) -> list[Item]:
        """What each subscription is allowed at this moment."""
        now = self.deps.clock.now()
        return [
            {
                "subscription": one.id,
                "max_in_flight": 0 if one.spec.held(now) else one.spec.max_in_flight,
                "rate_per_second": one.spec.rate_per_second,
                "held": one.spec.held(now),
            }
            for one in self.deps.config_log.config.subscriptions.values()
        ]

    def _workers(self, answered: list[Item]) -> list[Item]:
        said = {one["id"]: one for one in answered}
        me = self.deps.settings.worker.id
        announced = {one.id: one.url for one in self.deps.config_log.config.workers()}
        return [
            {
                "id": name,
                "url": announced.get(name),
                "answers": name in said,
                "partitions": said[name]["partitions"] if name in said else [],
                "lag_seconds": said[name]["lag_seconds"] if name in said else None,
            }
            for name in sorted({me, *announced})
        ]


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _queue(lines: Iterable[QueueLine]) -> list[QueueLine]:
    """One line for each priority, highest first."""
    by_priority: dict[int, list[QueueLine]] = {}
    for line in lines:
        by_priority.setdefault(line.priority, []).append(line)
    return [
        QueueLine(
            priority,
            sum(one.pending for one in some),
            sum(one.waiting for one in some),
            min(one.oldest_due for one in some),
        )
        for priority, some in sorted(by_priority.items(), reverse=True)
    ]
