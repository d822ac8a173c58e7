"""All of GitHub's webhooks, as GitHub sends them: each arrives byte for byte, signed, once."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import uuid
from pathlib import Path

from tests.acceptance.bus import Bus
from tests.acceptance.receiver import Receiver, official

DATA = Path(__file__).parents[1] / "data" / "github-webhooks.jsonl.gz"
SECRET = "It's a Secret to Everybody"


def bodies() -> list[tuple[str, bytes]]:
    with gzip.open(DATA, "rt") as lines:
        parsed = [json.loads(line) for line in lines]
    return [(one["event"], json.dumps(one["payload"], indent=1, ensure_ascii=False).encode()) for one in parsed]


async def test_every_body_arrives_as_it_was_sent(bus: Bus) -> None:
    domain, sent = f"github-{uuid.uuid4().hex}.test", dict[str, bytes]()
    async with bus.client() as client, Receiver() as receiver:
        source = {"scheme": "github", "secrets": [SECRET], "uri": domain + "/github/1/{header:x-github-event}"}
        await client.must("PUT", "/api/sources/github", source)
        _, secret = await client.subscribe(f"{domain}/github/1/*", f"{receiver.url}/hooks")
        for number, (event, body) in enumerate(bodies()):
            headers = {
                "content-type": "application/json",
                "x-github-event": event,
                "x-github-delivery": f"{domain}-{number}",
                "x-hub-signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
            }
            for _ in range(1 + (number % 10 == 0)):  # GitHub redelivers now and then
                async with client.session.post(
                    f"{bus.gateway}/events/from/github", data=body, headers=headers
                ) as answer:
                    document = await answer.json()
                assert answer.status == 202, document
                assert document["uri"] == f"{domain}/github/1/{event}"
                sent[document["id"]] = body
        assert len(sent) == 181
        await receiver.has("hooks", 181, seconds=60)
        events = await client.settled(f"{domain}/github/1/*", seconds=30)
    assert {one.id: one.body for one in receiver.arrived} == sent
    assert receiver.repeats("hooks") == 0
    for one in receiver.arrived:
        official(secret, one)
        components = [part.split(".")[0] for part in one.headers["certes-trace"].split(",")]
        assert components == ["gw", "eb", "ec"]
    assert {one["id"] for one in events} == set(sent)
    assert {one["state"] for one in events} == {"delivered"}


async def test_a_wrong_signature_is_refused(bus: Bus) -> None:
    async with bus.client() as client:
        source = {
            "scheme": "github",
            "secrets": [SECRET],
            "uri": "community.certes.dev/github/1/{header:x-github-event}",
        }
        await client.must("PUT", "/api/sources/github", source)
        headers = {"x-github-event": "push", "x-github-delivery": "forged", "x-hub-signature-256": "sha256=" + "0" * 64}
        status, problem = await client.call("POST", "/events/from/github", {"a": 1}, headers=headers)
    assert status == 401
    assert problem["status"] == 401
