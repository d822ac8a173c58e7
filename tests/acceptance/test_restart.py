"""A second start in the same directory goes on where the first was, also after kill -9 of all of it."""

from __future__ import annotations

import uuid
from pathlib import Path

import psutil
import pytest

from tests.acceptance.bus import Dev
from tests.acceptance.receiver import Receiver


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_second_start_continues(tmp_path: Path, how: str) -> None:
    dev = Dev(tmp_path / "dev")
    bus = dev.start(seconds=300)
    uri = "again.test/_/1/order"
    down = True
    try:
        async with Receiver(answer=lambda _path, _nth: 503 if down else 200) as receiver:
            async with bus.client() as client:
                await client.must("POST", f"/api/schemas/{uri}", {"schema": SCHEMA})
                backoff = {"strategy": "linear", "initial_seconds": 1, "max_delay_seconds": 2}
                subscription, secret = await client.subscribe(uri, f"{receiver.url}/orders", backoff=backoff)
                made = await client.must("POST", "/api/keys", {"name": "till", "roles": ["events:write"]})
                ids = [await client.send(uri, {"number": n}, ce_id=f"{uuid.uuid4()}") for n in range(20)]
            family = [*dev.family(), psutil.Process(dev.process.pid)]
            if how == "stopped":
                assert dev.stop() == 0
            else:
                dev.process.kill()
                dev.process.wait()
            _, alive = psutil.wait_procs(family, timeout=15)
            assert not alive, "nothing stays behind"

            again = dev.start(seconds=300)
            assert again.api_key == bus.api_key
            down = False
            await receiver.has("orders", 20, seconds=60)
            assert receiver.unique("orders") == set(ids)
            async with again.client() as client:
                events = await client.settled(uri, seconds=60)
                assert {one["id"] for one in events} == set(ids)
                assert {one["state"] for one in events} == {"delivered"}
                assert (await client.must("GET", f"/api/subscriptions/{subscription}"))["uri"] == uri
                secrets = (await client.must("GET", f"/api/subscriptions/{subscription}/secrets"))["secrets"]
                assert [one["secret"] for one in secrets] == [secret]
                headers = {"authorization": f"Bearer {made['key']}"}
                status, _ = await client.call("POST", f"/events/{uri}", {"number": 99}, headers=headers)
                assert status == 202, "the key is still known"
    finally:
        dev.stop()


SCHEMA = {"type": "record", "name": "order", "fields": [{"name": "number", "type": "int"}]}
