"""Who leaves through a proxy has left: the model's request is closed, though it is silent.

No chunk is on its way and the heartbeat is an hour off, so nothing but the proxy can tell.
"""

from __future__ import annotations

import pytest
import trio

from tests.proxies.clients import PROTOCOLS, Protocol, open_client
from tests.proxies.conftest import BOUND, Front
from tests.proxies.examples import Change

NOT_YET = 0.5
"""Seconds in which a leaving that is passed on has long been; that takes 2 to 5 ms here."""

DEAF = [
    ("caddy", "http/1.1", Change(r"^(?=\t\ttransport http)", "\t\tflush_interval -1\n")),
    ("caddy", "h2", Change(r"^(?=\t\ttransport http)", "\t\tflush_interval -1\n")),
    ("haproxy", "http/1.1", Change(r"^ *option abortonclose\n", "")),
    ("nginx", "http/1.1", Change(r"^(?= *location / )", "proxy_ignore_client_abort on;\n")),
    ("nginx", "h2", Change(r"^(?= *location / )", "proxy_ignore_client_abort on;\n")),
]


async def test_a_client_that_leaves_a_stream_has_left(front: Front, protocol: Protocol) -> None:
    with trio.fail_after(BOUND):
        async with (
            front.open() as (proxy, behind),
            open_client(proxy, front.authority, protocol) as client,
        ):
            await client.ask()
            await behind.model.say("one")
            await client.seen("one")
            await client.leave()
            await behind.model.given_up.wait()
            if protocol == "h2":  # only the stream was reset; the connection is as good as before
                assert await client.call("GET", "/health") == b'{"status":"healthy"}'


async def test_a_client_that_leaves_before_anything_was_answered_has_left(front: Front) -> None:
    with trio.fail_after(BOUND):
        async with front.open() as (proxy, behind):
            for protocol in PROTOCOLS:
                model = behind.another(protocol)
                async with open_client(proxy, front.authority, protocol) as client:
                    await client.ask("/compare", model=protocol)
                    await model.say("one")
                    await client.leave()
                    await model.given_up.wait()


@pytest.mark.parametrize(
    ("front", "protocol", "change"),
    DEAF,
    indirect=["front", "protocol"],
    ids=[f"{program}-{protocol}-{change.pattern}" for program, protocol, change in DEAF],
)
async def test_the_setting_that_the_page_warns_of_keeps_the_leaving_from_us(
    front: Front, protocol: Protocol, change: Change
) -> None:
    with trio.fail_after(BOUND):
        async with (
            front.open(change) as (proxy, behind),
            open_client(proxy, front.authority, protocol) as client,
        ):
            await client.ask()
            await behind.model.say("one")
            await client.seen("one")
            await client.leave()
            with trio.move_on_after(NOT_YET):
                await behind.model.given_up.wait()
            assert not behind.model.given_up.is_set(), (
                f"{front.program} passes it on by now: docs/operations/proxies.md says it does not"
            )
            await behind.model.say("two")  # it is still listened to
