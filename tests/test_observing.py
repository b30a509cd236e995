"""Asking a running service, and noting when each event arrives."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
import trio

import service.observing
from service.observing import ObservationError
from service.testing import Close, Script, app_for, observe, open_server, open_wire

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_every_event_is_noted_with_the_time_of_its_arrival() -> None:
    app = app_for(Script("a", (0, "x"), (0, "y")))
    with trio.fail_after(10):
        async with open_server(app) as url:
            arrivals = await observe(url, models=["a:1"], prompt="q")
    types = [arrival.event["type"] for arrival in arrivals]
    assert types == ["start", "chunk", "chunk", "done", "complete"]
    times = [arrival.seconds for arrival in arrivals]
    assert times == sorted(times)


async def test_a_stream_that_is_cut_gives_the_events_that_came() -> None:
    start = b'data: {"model":"a","type":"start"}\n\n'
    chunk = b"%x\r\n%s\r\n" % (len(start), start)
    with trio.fail_after(10):
        async with open_wire(HEAD + chunk, Close()) as wire:
            arrivals = await observe(wire.base_url, models=["a"], prompt="q")
    assert [arrival.event for arrival in arrivals] == [{"model": "a", "type": "start"}]


async def test_a_refusal_is_told_in_the_services_own_words() -> None:
    with trio.fail_after(10):
        async with open_server(app_for(Script("a"))) as url:
            with pytest.raises(ObservationError, match=r"status 400 .*: input_data must not be"):
                await observe(url, models=["a:1"], prompt=" ")


async def test_an_address_where_nobody_accepts_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.observing, "CONNECT_SECONDS", 0.1)
    with ExitStack() as stack, trio.fail_after(10):
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        waiting = stack.enter_context(socket.socket())
        waiting.connect(full.getsockname())  # the queue has room for one
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(ObservationError, match=r"no connection within 0\.1 s"):
            await observe(url, models=["a"], prompt="q")
