"""Settings and logging of the server commands: what is wrong with them is said in a line, not in a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from certes.errors import Fatal

if TYPE_CHECKING:
    from certes.settings import Settings

CLUSTER_KEY = "CERTES_CLUSTER__KEY"


def load(command: str) -> Settings:
    """Set logging up and read the settings, or exit with 2 and the names of the variables that are wrong.

    Raises Fatal without a cluster key.
    """
    from certes import logs
    from certes.settings import Settings

    try:
        logs.setup()
        settings = Settings.load()
    except (Fatal, ValueError) as error:
        typer.echo(f"certes {command}: {error}", err=True)
        raise typer.Exit(2) from error
    if not settings.cluster_key:
        raise Fatal(f"{CLUSTER_KEY} is missing; it is the same for all workers and gateways: openssl rand -base64 32")
    return settings
