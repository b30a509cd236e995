"""A stream goes through a proxy as it is: piece by piece, with its headers, and to its end."""

from __future__ import annotations

import json

import pytest
import trio

from tests.clients import asking
from tests.proxies.clients import PROTOCOLS, Protocol, open_client
from tests.proxies.conftest import BOUND, Front
from tests.proxies.examples import CLEAN_ENDS, Change


async def test_chunks_arrive_one_by_one_and_the_end_is_seen(
    front: Front, protocol: Protocol
) -> None:
    with trio.fail_after(BOUND):
        async with (
            front.open() as (proxy, behind),
            open_client(proxy, front.authority, protocol) as client,
        ):
            await client.ask()
            await client.seen('"type":"start"')
            for number in range(5):
                # The next is said only when this one has come all the way.
                await behind.model.say(f"<{number}>")
                await client.seen(f"<{number}>")
            behind.model.finish()
            body = await client.whole()
            assert (await client.call("GET", "/health")) == b'{"status":"healthy"}'
    assert b'"type":"done","error":false' in body
    assert b'"type":"complete"' in body


async def test_the_headers_of_a_stream_pass_and_nothing_is_compressed(front: Front) -> None:
    accepted = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    with trio.fail_after(BOUND):
        async with front.open() as (proxy, behind):
            for protocol in PROTOCOLS:
                model = behind.another(protocol)
                async with open_client(proxy, front.authority, protocol) as client:
                    body = json.dumps(asking(protocol)).encode()
                    await client.request("POST", "/compare-stream", body, accepted)
                    await model.say("word " * 1000)
                    model.finish()
                    assert b"word word" in await client.whole()
                assert client.status == 200
                assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
                assert client.headers["cache-control"] == "no-cache, no-transform"
                assert client.headers["x-accel-buffering"] == "no"
                assert client.headers["x-comparison-id"]
                assert "content-encoding" not in client.headers


async def test_a_cut_is_no_clean_end_but_where_the_proxy_makes_one_of_it(
    front: Front, protocol: Protocol
) -> None:
    with trio.fail_after(BOUND):
        async with (
            front.open() as (proxy, behind),
            open_client(proxy, front.authority, protocol) as client,
        ):
            await client.ask()
            await behind.model.say("half")
            await client.seen("half")
            behind.breaks = True
            await behind.model.say("the rest")
            whole = await client.over()
    # What holds in any case: an answer that is whole says so itself.
    assert b'"type":"done"' not in client.body
    assert b'"type":"complete"' not in client.body
    assert whole == ((front.program, protocol) in CLEAN_ENDS), (
        f"{front.program} over {protocol} has changed its ways: docs/operations/proxies.md and "
        "CLEAN_ENDS say otherwise"
    )


@pytest.mark.parametrize("front", ["nginx"], indirect=True)
async def test_a_cut_is_a_clean_end_if_nginx_asks_in_http_1_0(
    front: Front, protocol: Protocol
) -> None:
    with trio.fail_after(BOUND):
        async with (
            front.open(Change(r"^ *proxy_http_version 1\.1;\n", "")) as (proxy, behind),
            open_client(proxy, front.authority, protocol) as client,
        ):
            await client.ask()
            await behind.model.say("half")
            await client.seen("half")
            behind.breaks = True
            await behind.model.say("the rest")
            assert await client.over()
