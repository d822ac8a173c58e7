"""`certes dev` with stand-ins for the gateway and the workers: the local stack is tested without them.

Run with the options of `certes dev`; with `role gateway` or `role worker` it is the stand-in, which
answers 200 to everything on the port that the stack gave it.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def role(name: str) -> None:
    port = int(os.environ[f"CERTES_{name.upper()}__PORT"])
    ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()


def main() -> None:
    import typer

    from certes.cli.dev import dev
    from certes.dev import plan

    plan.PROGRAM = (sys.executable, __file__, "role")
    typer.run(dev)


if __name__ == "__main__":
    role(sys.argv[2]) if sys.argv[1:2] == ["role"] else main()
