"""Ports of the local stack: free ones, and the same ones again at the next start in the same directory."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from certes.errors import Fatal

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; a connection still closing (TIME_WAIT) is no obstacle."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def any_free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Ports:
    """Gives every name a port of its own. `remembered` is what the directory had last time."""

    remembered: Mapping[str, int] = field(default_factory=dict)
    free: Callable[[int], bool] = is_free
    unused: Callable[[], int] = any_free
    taken: dict[str, int] = field(default_factory=dict)

    def choose(self, name: str) -> int:
        """The port this name had last time, if it is still free, else any free one."""
        port = self.remembered.get(name, 0)
        while not port or port in self.taken.values() or not self.free(port):
            port = self.unused()
        self.taken[name] = port
        return port

    def insist(self, name: str, port: int) -> int:
        """Exactly this port. Raises Fatal when somebody else listens there."""
        if port in self.taken.values() or not self.free(port):
            raise Fatal(
                f"port {port} for the {name} is in use: stop what listens there, or choose another with --port (0: any free one)"
            )
        self.taken[name] = port
        return port
