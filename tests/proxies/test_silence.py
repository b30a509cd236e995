"""Silence survives by the heartbeat, and by nothing else where the proxy has a limit.

Scaled: the proxies' minute is a second, the heartbeat's ten seconds are a quarter of one. At full
length, with the files as they are: `python -m tests.proxies --full`.
"""

from __future__ import annotations

import trio

from tests.proxies.clients import PROTOCOLS, Protocol, open_client
from tests.proxies.conftest import BOUND, Front

HEARTBEAT = 0.25
BEATS = 10
"""2.5 s of silence, where the proxy bears one."""


async def test_a_model_may_be_silent_for_longer_than_the_proxy_bears(front: Front) -> None:
    async def listen(protocol: Protocol) -> None:
        async with open_client(proxy, front.authority, protocol) as client:
            model = behind.another(protocol)
            await client.ask(model=protocol)
            await model.say("one")
            await client.seen("one")
            await client.until(lambda: client.body.count(b": ping\n\n") >= BEATS)
            await model.say("two")
            model.finish()
            body = await client.whole()
        assert b'"two"' in body
        assert b'"type":"done","error":false' in body
        assert b'"type":"complete"' in body

    async def wait_for_all(protocol: Protocol) -> None:
        async with open_client(proxy, front.authority, protocol) as client:
            model = behind.another(f"whole {protocol}")
            await client.ask("/compare", model=f"whole {protocol}")
            await model.say("one")
            await trio.sleep(BEATS * HEARTBEAT)  # nothing is sent meanwhile, no heartbeat either
            model.finish()
            await client.whole()
            assert client.json()["results"] == {f"whole {protocol}": "one"}

    with trio.fail_after(BOUND):
        async with (
            front.open(impatient=True, heartbeat=HEARTBEAT) as (proxy, behind),
            trio.open_nursery() as nursery,
        ):
            for protocol in PROTOCOLS:
                nursery.start_soon(listen, protocol)
                if front.example.limited is None:  # else the file sets no limit, this test did
                    nursery.start_soon(wait_for_all, protocol)


async def test_without_a_heartbeat_the_proxy_cuts_it(front: Front) -> None:
    async def listen(protocol: Protocol) -> None:
        async with open_client(proxy, front.authority, protocol) as client:
            model = behind.another(protocol)
            await client.ask(model=protocol)
            await model.say("one")
            await client.seen("one")
            await client.over()
            await model.given_up.wait()
        assert b'"type":"complete"' not in client.body

    with trio.fail_after(BOUND):
        async with (
            front.open(impatient=True) as (proxy, behind),
            trio.open_nursery() as nursery,
        ):
            for protocol in PROTOCOLS:
                nursery.start_soon(listen, protocol)
