"""`/api/config`: what can be changed while everything runs, and the settings of this deployment, which are its
environment's.
"""

from __future__ import annotations

from aiohttp import web

from certes.api.entries import EntryView, merge
from certes.api.paging import Item
from certes.api.view import answer, parse
from certes.config import GLOBAL, Entry, GlobalConfig


class ConfigView(EntryView):
    resource = "config"
    kind = "config"

    async def get(self) -> web.Response:
        entry = self.entries.get(GLOBAL)
        return answer(self._shown(entry), headers={} if entry is None else {"etag": entry.etag})

    async def patch(self) -> web.Response:
        """A JSON merge patch (RFC 7396): null takes a flag or a domain's rule out."""
        patch = await self.document()
        patch.pop("settings", None)

        def patched(entry: Entry | None) -> Item:
            before = {} if entry is None else entry.value
            return parse(GlobalConfig, merge(before, patch)).model_dump(mode="json")

        return self.written(await self.change(GLOBAL, patched), self._shown)

    def _shown(self, entry: Entry | None) -> Item:
        changeable = GlobalConfig() if entry is None else GlobalConfig.model_validate(entry.value)
        shown = {"log", "delivery", "schemas"}
        environment = self.deps.settings.model_dump(mode="json", include=shown)
        return {**changeable.model_dump(mode="json"), "settings": environment}
