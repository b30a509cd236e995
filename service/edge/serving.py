"""Serve the application until told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app

from service.edge.sighup import HANGUP, hangups
from service.edge.worker import Told, worker_serve

__all__ = ["Binding", "serve", "serve_until_signalled"]

BACKLOG = 1024
"""Connections that may wait to be accepted: a burst of clients, in the moment of a slow step."""
HANDSHAKE_SECONDS = 10.0
"""For a TLS handshake: a few round trips, and a lost packet."""
HEAD_BYTES = 16 * 1024
"""Of an HTTP/2 head; HTTP/1's may be as long."""
KEEP_ALIVE_SECONDS = 75.0
"""How long an idle connection is kept; nginx keeps its own for as long."""
ENDLESS_REQUESTS = 2**31
"""An HTTP/1 connection is closed after this many; Hypercorn by itself counts HTTP/2's, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where to listen, and with which certificate."""

    address: str = "127.0.0.1:8000"
    """`host:port`; port 0 takes a free one."""
    certfile: Path | None = None
    """A certificate chain in PEM; with it the server speaks TLS, and HTTP/2 by ALPN."""
    keyfile: Path | None = None
    """The certificate's key; None: it is in `certfile`."""
    reuse_port: bool = False
    """Whether other processes may listen at the same address (SO_REUSEPORT)."""


async def serve(
    app: ASGIFramework,
    binding: Binding,
    *,
    told: Told,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app`; reports the URL when connections are accepted, returns after being told."""
    config = Config()
    config.bind = [binding.address]
    config.backlog = BACKLOG
    config.worker_class = "trio"
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = ENDLESS_REQUESTS
    config.ssl_handshake_timeout = HANDSHAKE_SECONDS
    config.h2_max_header_list_size = HEAD_BYTES
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    if binding.certfile is not None:
        config.certfile = str(binding.certfile)
        config.keyfile = str(binding.keyfile or binding.certfile)
    # By this Hypercorn sets SO_REUSEPORT; it starts no process here.
    config.workers = 2 if binding.reuse_port else 1
    told.hand_over = binding.reuse_port
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            partial(worker_serve, wrap_app(app, 0, "asgi"), config, told=told)
        )
        task_status.started(urls[0])


async def serve_until_signalled(
    app: ASGIFramework,
    binding: Binding,
    *,
    on_ready: Callable[[str], None],
    on_stopping: Callable[[], None],
) -> None:
    """Serve `app` until SIGINT or SIGTERM; a second signal ends running requests at once.

    At SIGHUP the settings are read again.
    """
    told = Told()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, *HANGUP) as signals:
        async with trio.open_nursery() as nursery:

            async def heed_signals() -> None:
                async for number in signals:
                    if number in HANGUP and not hangups.is_the_end():
                        told.reload.set()
                        continue
                    if not told.stop.is_set():
                        on_stopping()
                    told.again()

            nursery.start_soon(heed_signals, name="signals")
            async with trio.open_nursery() as serving:
                on_ready(await serving.start(partial(serve, app, binding, told=told)))
            nursery.cancel_scope.cancel("served")
