"""A server as a process of its own: ours, or Hypercorn as it comes, under the same application.

    python -m tests.edge.served ours|stock OPTIONS

prints its port when it listens. A process, since Hypercorn as it comes may die or never end.
"""

from __future__ import annotations

import itertools
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hypercorn.trio
import msgspec
import trio
from hypercorn.config import Config
from hypercorn.utils import wrap_app
from msgspec import Struct

from service import log
from service.edge import corrections
from service.edge.worker import worker_serve
from service.providers import Ending, Prompt, Sink
from service.settings import Server, Settings, Stream
from service.testing import Script, Stall, app_for
from tests.command import running

PIECE = "x" * 100


class Options(Struct, frozen=True):
    """What a test wants to be otherwise."""

    write_timeout: float = 0.5
    heartbeat: float = 10
    keep_alive: float = 0.5
    drain: float = 0.5
    graceful: float = 30
    """Hypercorn's own grace; it has no other."""
    per_address: int = 0
    resets: int = 100
    server_names: tuple[str, ...] = ()
    accesslog: str | None = None
    max_requests: int = 1000
    certfile: str | None = None
    head_bytes: int = 16 * 1024


class Flood(Script):
    """A provider that writes as fast as it is read, for ever; and counts what it wrote."""

    emitted = 0

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        self.opened += 1
        try:
            sink.connected()
            for _ in itertools.count():
                await sink.text(PIECE)
                self.emitted += len(PIECE)
            return Ending(finish_reason="stop")
        finally:
            self.closed += 1


class Drip(Flood):
    """A provider that writes a little every 10 ms, for ever."""

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        self.opened += 1
        try:
            sink.connected()
            for _ in itertools.count():
                await sink.text(PIECE)
                await trio.sleep(0.01)
            return Ending(finish_reason="stop")
        finally:
            self.closed += 1


def application(options: Options) -> Any:
    """The application, with two addresses more: what its providers did, and one that breaks."""
    flood = Flood("flood")
    scripts = [
        Script("quick", (0, "x")),
        Script("slow", (0.2, "x")),
        Script("long", *((0, PIECE),) * 500),
        Script("stall", (0, "x"), (0, Stall())),
        Drip("drip"),
        flood,
    ]
    settings = Settings(
        stream=Stream(write_timeout=options.write_timeout, heartbeat=options.heartbeat),
        server=Server(
            drain=options.drain,
            connections_per_address=options.per_address,
            resets_per_connection=options.resets,
        ),
    )
    app = app_for(*scripts, settings=settings)
    quart = app.asgi_app
    calls = 0

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        if scope.get("path") == "/counts":
            counts = {
                "opened": sum(script.opened for script in scripts),
                "closed": sum(script.closed for script in scripts),
                "emitted": flood.emitted,
                "calls": calls,
            }
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(counts).encode()})
        elif scope.get("path") == "/long":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 200_000})
        elif scope.get("path") == "/breaks":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise RuntimeError("in the middle of a response")
        else:
            await quart(scope, receive, send)

    app.asgi_app = asgi_app  # type: ignore[method-assign]
    return app


def config_of(options: Options) -> Config:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.keep_alive_timeout = options.keep_alive
    config.keep_alive_max_requests = options.max_requests
    config.graceful_timeout = options.graceful
    config.server_names = list(options.server_names)
    config.accesslog = options.accesslog
    config.errorlog = None
    config.h2_max_header_list_size = options.head_bytes
    config.workers = 0
    if options.certfile:
        config.certfile = config.keyfile = options.certfile
    return config


async def serve(kind: str, options: Options) -> None:
    app, config = application(options), config_of(options)
    async with trio.open_nursery() as nursery:
        if kind == "ours":
            binds = await nursery.start(partial(worker_serve, wrap_app(app, 0, "asgi"), config))
        else:
            for module, name, stock in corrections.ORIGINALS:
                setattr(module, name, stock)
            config.workers = 1
            stop = trio.Event()
            nursery.start_soon(wait_for_sigterm, stop)
            binds = await nursery.start(
                partial(hypercorn.trio.serve, app, config, shutdown_trigger=stop.wait, mode="asgi")
            )
        print(binds[0].rpartition(":")[2], flush=True)  # noqa: T201


async def wait_for_sigterm(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _signal in signals:
            stop.set()


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    process: trio.Process
    port: int
    trusted: Path | None = None
    """The certificate to trust, if it speaks TLS."""

    async def connect(self) -> trio.SocketStream:
        """A connection to it."""
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    def over_tls(self, tcp: trio.SocketStream, *protocols: str) -> trio.abc.Stream:
        """The connection with TLS around it, if the server speaks that."""
        if self.trusted is None:
            return tcp
        context = ssl.create_default_context(cafile=str(self.trusted))
        context.check_hostname = False
        context.set_alpn_protocols(protocols)
        return trio.SSLStream(tcp, context, https_compatible=True)

    async def get(self, path: str) -> bytes:
        """The body of one request on a connection of its own."""
        async with self.over_tls(await self.connect()) as client:
            request = f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
            await client.send_all(request.encode())
            received = b""
            while True:
                data = bytes(await client.receive_some())
                received += data
                head, _, body = received.partition(b"\r\n\r\n")
                if not data or body.endswith((b"}", b"0\r\n\r\n")):
                    assert head.startswith(b"HTTP/1.1 200"), received
                    return body

    async def counts(self) -> dict[str, int]:
        """What its providers did, and how often the application was called."""
        body = await self.get("/counts")
        counts: dict[str, int] = msgspec.json.decode(body[body.index(b"{") : body.index(b"}") + 1])
        return counts

    async def is_well(self) -> None:
        """It still serves, in the same process."""
        assert self.process.poll() is None, "the process has ended"
        await self.get("/health")


@asynccontextmanager
async def open_served(
    kind: str, *, trusted: Path | None = None, **options: Any
) -> AsyncIterator[Served]:
    """A server of this kind as a process, killed in the end."""
    encoded = msgspec.json.encode(Options(**options)).decode()
    async with running(
        kind, encoded, module="tests.edge.served", stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        line = await process.stdout.receive_some()
        assert line.strip(), "it did not start"
        yield Served(process, int(line), trusted)


if __name__ == "__main__":
    log.configure("info")
    trio.run(serve, sys.argv[1], msgspec.json.decode(sys.argv[2], type=Options))
