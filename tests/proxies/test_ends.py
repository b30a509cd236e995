"""The service stops, dies and comes again behind a proxy; and bodies that are too long."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.chaos.service_under_test import Config, open_service
from tests.chaos.upstream import open_upstream
from tests.clients import asking, connect, http1_request, read_until
from tests.proxies.behind import open_behind
from tests.proxies.clients import PROTOCOLS, Protocol, open_client
from tests.proxies.conftest import BOUND, Front
from tests.proxies.examples import CLEAN_ENDS, Change

MOST = 1024 * 1024
"""`max_body_bytes`, by default."""
REFUSED_STREAM = 7


async def test_a_service_that_stops_says_so_through_the_proxy_and_ends_what_runs(
    front: Front, protocol: Protocol
) -> None:
    with trio.fail_after(BOUND):
        async with (
            front.open() as (proxy, behind),
            open_client(proxy, front.authority, protocol) as client,
            open_client(proxy, front.authority, protocol) as late,
        ):
            await client.ask()
            await behind.model.say("one")
            await client.seen("one")

            behind.told.stop.set()
            await late.ask()
            await late.whole()
            assert (late.status, late.json()["code"]) == (503, "draining")
            assert late.headers["retry-after"] == "1"

            await behind.model.say("two")
            behind.model.finish()
            body = await client.whole()
            assert b'"two"' in body
            assert b'"type":"done","error":false' in body
            assert b'"type":"complete"' in body

            await behind.ended.wait()
            async with open_client(proxy, front.authority, protocol) as new:
                if front.program == "haproxy":  # which tries three times, a second apart
                    await new.request("GET", "/health")
                else:
                    await new.call("GET", "/health")
                    assert new.status == 502
                await behind.start(behind.address)
                if front.program != "haproxy":
                    await new.request("GET", "/health")
                assert await new.whole() == b'{"status":"healthy"}'


@pytest.mark.parametrize(
    ("front", "without"),
    [
        ("nginx", ()),
        ("caddy", ()),
        ("haproxy", ()),
        ("haproxy", (Change(r"^ *default-server check.*\n", ""),)),  # by `retry-on` alone
    ],
    indirect=["front"],
)
async def test_of_several_processes_another_answers_for_one_that_drains(
    front: Front, without: tuple[Change, ...]
) -> None:
    with trio.fail_after(BOUND):
        async with (
            open_behind() as second,
            front.open(*front.example.several(second.address), *without) as (proxy, first),
            await connect(f"http://{first.address}") as running,
            AsyncExitStack() as asking_on,
        ):
            await running.send_all(http1_request("m"))
            await read_until(running, b'"type":"start"')
            first.told.stop.set()
            answered = 0
            # In a row, and none of them ends: the draining one's turn comes again and again.
            while answered < 6:
                opened = open_client(proxy, front.authority, "h2")
                client = await asking_on.enter_async_context(opened)
                await client.ask(model="silent")
                await client.until(lambda: client.status)  # noqa: B023
                # Caddy tries no other, and hears of it when it next looks at /readyz.
                assert client.status == 200 or front.program == "caddy"
                answered = answered + 1 if client.status == 200 else 0


async def test_a_proxy_that_reads_its_file_again_ends_no_stream(front: Front) -> None:
    line = front.example.refusal
    with trio.fail_after(BOUND):
        async with (
            front.open() as (proxy, behind),
            open_client(proxy, front.authority, "http/1.1") as one,
            open_client(proxy, front.authority, "h2") as two,
        ):
            models = [behind.another("one"), behind.another("two")]
            for client, model, name in zip((one, two), models, ("one", "two"), strict=True):
                await client.ask(model=name)
                await model.say("before")
                await client.seen("before")
            await proxy.reload(Change(f"{line} 404", f"{line} 410"))
            new = 404
            while new == 404:
                async with open_client(proxy, front.authority, "h2") as stranger:
                    await stranger.call("GET", "/metrics")
                    new = stranger.status
            assert new == 410
            for client, model in zip((one, two), models, strict=True):
                await model.say("after")
                model.finish()
                assert b'"type":"complete"' in await client.whole()


async def test_what_a_killed_service_had_not_answered_is_no_answer(
    front: Front, tmp_path: Path
) -> None:
    async def wait(protocol: Protocol) -> None:
        async with open_client(proxy, front.authority, protocol) as client:
            await client.ask("/compare", model="silent")
            await upstream.busy(4)
            await killed.wait()
            await client.over()
            if (front.program, protocol) == ("haproxy", "h2"):
                # As if nothing had been asked: docs/operations/proxies.md warns of it.
                assert client.reset == REFUSED_STREAM
            else:
                assert client.status == 502

    async def listen(protocol: Protocol) -> None:
        async with open_client(proxy, front.authority, protocol) as client:
            await client.ask(model="silent")
            await client.seen('"type":"start"')
            await upstream.busy(4)
            await killed.wait()
            assert await client.over() == ((front.program, protocol) in CLEAN_ENDS)
            assert b'"type":"complete"' not in client.body

    killed = trio.Event()
    with trio.fail_after(BOUND):
        async with open_upstream() as upstream:
            config = tmp_path / "compare.toml"
            patient = Config(first_token=60, idle=60, heartbeat=60)
            config.write_text(patient.toml({"fake": upstream.base_url}))
            async with (
                open_service(config) as service,
                front.open_before(service.url.removeprefix("http://")) as proxy,
                trio.open_nursery() as nursery,
            ):
                for protocol in PROTOCOLS:
                    nursery.start_soon(wait, protocol)
                    nursery.start_soon(listen, protocol)
                await upstream.busy(4)
                service.process.kill()
                await service.process.wait()
                killed.set()


async def test_a_body_as_long_as_it_may_be_is_taken_and_a_longer_one_refused_by_us(
    front: Front,
) -> None:
    with trio.fail_after(BOUND):
        async with front.open() as (proxy, behind):
            for protocol in PROTOCOLS:
                question = json.dumps(asking(protocol)).encode()
                model = behind.another(protocol)
                async with open_client(proxy, front.authority, protocol) as client:
                    await client.request("POST", "/compare", question.ljust(MOST))
                    await model.say("one")
                    model.finish()
                    await client.whole()
                    assert (client.status, client.json()["results"]) == (200, {protocol: "one"})
                async with open_client(proxy, front.authority, protocol) as client:
                    await client.call("POST", "/compare", question.ljust(MOST + 1))
                    assert (client.status, client.json()["code"]) == (413, "body_too_large")
