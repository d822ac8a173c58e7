"""Running a gateway until a signal or a fatal error ends it."""

from __future__ import annotations

import asyncio
import logging
import signal

from certes.errors import Fatal
from certes.gateway.service import Gateway
from certes.settings import Settings

logger = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises Fatal with the reason when it has to end by itself."""
    if not settings.cluster_key:
        raise Fatal(
            "CERTES_CLUSTER__KEY is missing; it is the same for all workers and gateways: openssl rand -base64 32"
        )
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(error: BaseException | None = None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(
                error if isinstance(error, Fatal) else Fatal(f"the configuration is unreadable: {error}")
            )

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    gateway = Gateway(settings, on_fatal=end)
    try:
        await gateway.listen()
        await _first(ended, gateway)
    finally:
        await gateway.stop()
        logger.info("stopped", extra={"action": "stop"})


async def _first(ended: asyncio.Future[None], gateway: Gateway) -> None:
    """Start, unless the end comes first; then wait for the end."""
    starting = asyncio.create_task(gateway.start(), name="gateway-start")
    try:
        await asyncio.wait((starting, ended), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await ended
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
