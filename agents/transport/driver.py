"""The `certes://` transport: Faust's Kafka driver with our consumer and producer in it."""

from __future__ import annotations

from faust.transport.drivers import TRANSPORTS, aiokafka

from agents.transport.consumer import Consumer
from agents.transport.producer import Producer

SCHEME = "certes"


class Transport(aiokafka.Transport):
    Consumer = Consumer
    Producer = Producer


def register() -> None:
    """Make `certes://host:port` known to Faust. Called where the app is built."""
    TRANSPORTS.aliases[SCHEME] = f"{__name__}:{Transport.__name__}"


def broker_url(bootstrap: str) -> str:
    """`host:port[,host:port...]` as Faust wants it."""
    return ";".join(f"{SCHEME}://{server.strip()}" for server in bootstrap.split(","))
