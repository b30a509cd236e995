"""A box on the way to a service: it passes bytes on, and is torn out when a test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from tests.clients import connect

__all__ = ["Relay", "open_relay"]


@dataclass(slots=True)
class Relay:
    """Where it is, and the event that cuts whatever goes through it."""

    url: str
    cut: trio.Event = field(default_factory=trio.Event)


@asynccontextmanager
async def open_relay(url: str) -> AsyncIterator[Relay]:
    """A relay to `url` on a free port; once it is cut, both sides of each connection are closed."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    relay = Relay(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")

    async def pass_on(near: trio.SocketStream) -> None:
        async with near, await connect(url) as far, trio.open_nursery() as nursery:

            async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                try:
                    async for data in source:
                        await sink.send_all(data)
                except trio.BrokenResourceError:
                    pass  # whoever reset it has left, which is what the end says too
                nursery.cancel_scope.cancel("one side has left")

            nursery.start_soon(copy, near, far)
            nursery.start_soon(copy, far, near)
            await relay.cut.wait()
            nursery.cancel_scope.cancel("the relay was torn out")

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, pass_on, listeners)
        yield relay
        nursery.cancel_scope.cancel("the test is over")
