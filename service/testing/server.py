"""An application on a real, free loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from service.edge import Binding, Told, serve

__all__ = ["open_server"]


@asynccontextmanager
async def open_server(
    app: Any,
    *,
    certfile: Path | None = None,
    keyfile: Path | None = None,
    grace: float = 1.0,
) -> AsyncIterator[str]:
    """Serve `app`, hand out its URL, and stop it as the command would when the context is left.

    What still runs after `grace` seconds is then ended at once.
    """
    told = Told()
    binding = Binding(address="127.0.0.1:0", certfile=certfile, keyfile=keyfile)

    async def hurry() -> None:
        await trio.sleep(grace)
        told.hurry.set()

    async with trio.open_nursery() as clock:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve, app, binding, told=told))
            try:
                yield url
            finally:
                told.stop.set()
                clock.start_soon(hurry)
        clock.cancel_scope.cancel("served")
