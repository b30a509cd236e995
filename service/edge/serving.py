"""Serve the application until told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve
from hypercorn.typing import ASGIFramework

__all__ = ["Binding", "serve", "serve_until_signalled"]

GRACE_SECONDS = 30.0
"""How long running comparisons may go on once the process is told to end."""
KEEP_ALIVE_SECONDS = 75.0
"""How long an idle connection is kept; nginx keeps its own for as long."""
ENDLESS_REQUESTS = 2**31
"""Hypercorn ends an HTTP/2 connection after this many requests, and live streams with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where to listen, and with which certificate."""

    address: str = "127.0.0.1:8000"
    """`host:port`; port 0 takes a free one."""
    certfile: Path | None = None
    """A certificate chain in PEM; with it the server speaks TLS, and HTTP/2 by ALPN."""
    keyfile: Path | None = None
    """The certificate's key; None: it is in `certfile`."""


async def serve(
    app: ASGIFramework,
    binding: Binding,
    *,
    stop: trio.Event,
    grace: float = GRACE_SECONDS,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app`; reports the URL when connections are accepted, returns after `stop`.

    After `stop` no connection is accepted; requests that run have `grace` seconds to end.
    """
    config = Config()
    config.bind = [binding.address]
    config.worker_class = "trio"
    config.graceful_timeout = grace
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = ENDLESS_REQUESTS
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    if binding.certfile is not None:
        config.certfile = str(binding.certfile)
        config.keyfile = str(binding.keyfile or binding.certfile)
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            partial(hypercorn_serve, app, config, shutdown_trigger=stop.wait, mode="asgi")
        )
        task_status.started(urls[0])


async def serve_until_signalled(
    app: ASGIFramework,
    binding: Binding,
    *,
    on_ready: Callable[[str], None],
    on_stopping: Callable[[float], None],
) -> None:
    """Serve `app` until SIGINT or SIGTERM; a second signal ends running requests at once.

    `on_ready` is given the URL, `on_stopping` the seconds that running requests still have.
    """
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def heed_signals() -> None:
                async for _ in signals:
                    if stop.is_set():
                        nursery.cancel_scope.cancel("told to stop twice")
                        return
                    stop.set()
                    on_stopping(GRACE_SECONDS)

            nursery.start_soon(heed_signals, name="signals")
            async with trio.open_nursery() as serving:
                on_ready(await serving.start(partial(serve, app, binding, stop=stop)))
            nursery.cancel_scope.cancel("served")
