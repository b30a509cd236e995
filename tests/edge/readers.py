"""Clients that do not read, over everything that the service speaks."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from tests.clients import http1_request
from tests.edge.frames import RawH2, frames, get
from tests.edge.served import Served, open_served

__all__ = ["KINDS", "all_closed", "open_kind", "open_reader", "question"]

KINDS = pytest.mark.parametrize("kind", ["HTTP/1.1", "h2c", "HTTP/1.1 over TLS", "h2 over TLS"])


async def all_closed(served: Served, opened: int = 1) -> None:
    """Every model that was asked has been given up."""
    while True:
        counts = await served.counts()
        if counts["opened"] == counts["closed"] >= opened:
            return
        await trio.sleep(0.02)


def question(http: RawH2, stream_id: int, model: str) -> tuple[bytes, bytes]:
    """A question to one of the providers."""
    body = b'{"input_data": "q", "models": ["%s:m"]}' % model.encode()
    head = [*get(b"/compare-stream", method=b"POST"), (b"content-type", b"application/json")]
    return http.head(stream_id, head, end=False), http.data(stream_id, body, end=True)


@asynccontextmanager
async def open_kind(kind: str, folder: Path, **options: Any) -> AsyncIterator[Served]:
    """A server that speaks it."""
    if "TLS" not in kind:
        async with open_served("ours", **options) as served:
            yield served
        return
    authority = trustme.CA()
    own, trusted = folder / "own.pem", folder / "trusted.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(own)
    authority.cert_pem.write_to_path(trusted)
    async with open_served("ours", trusted=trusted, certfile=str(own), **options) as served:
        yield served


@asynccontextmanager
async def open_reader(served: Served, kind: str, model: str) -> AsyncIterator[trio.abc.Stream]:
    """A client that has asked, and has read the beginning of the answer."""
    tcp = trio.SocketStream(trio.socket.socket())
    # Small, or the kernel would read on for it for long.
    tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await tcp.socket.connect(("127.0.0.1", served.port))
    stream = served.over_tls(tcp, "h2" if "h2" in kind else "http/1.1")
    try:
        if "h2" in kind:
            http = RawH2(stream)
            await http.begin(INITIAL_WINDOW_SIZE=2**30)
            await http.send(http.window(0, 2**30), *question(http, 1, model))
            await http.until(frames.DataFrame, 1)
        else:
            await stream.send_all(http1_request(f"{model}:m"))
            received = b""
            while b'"chunk"' not in received:
                received += bytes(await stream.receive_some(1000))
        yield stream
    finally:
        await trio.aclose_forcefully(stream)
