"""`certes gateway`: one gateway process, for production."""

from __future__ import annotations

import logging
import sys

import typer
from pydantic import ValidationError


def gateway() -> None:
    """Run an event gateway: takes events in over HTTP, passes the Master API on. Settings come from CERTES_*."""
    import uvloop

    from certes.errors import CertesError
    from certes.gateway.serve import serve
    from certes.settings import Settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # It tells every attempt to connect, twice; what matters of it comes back as our errors.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        uvloop.run(serve(Settings()))
    except ValidationError as error:
        problems = "; ".join(
            f"CERTES_{'__'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()
        )
        sys.stderr.write(f"certes gateway: {problems}\n")
        raise typer.Exit(2) from error
    except CertesError as error:
        sys.stderr.write(f"certes gateway: {error}\n")
        raise typer.Exit(1) from error
