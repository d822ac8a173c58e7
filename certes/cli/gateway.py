"""`certes gateway`: one gateway process, for production."""

from __future__ import annotations

import logging

from certes.cli.configuration import load


def gateway() -> None:
    """Run an event gateway: takes events in over HTTP, passes the Master API on. Settings come from CERTES_*."""
    import uvloop

    from certes.gateway.serve import serve

    settings = load("gateway")
    # It tells every attempt to connect, twice; what matters of it comes back as our errors.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    uvloop.run(serve(settings))
