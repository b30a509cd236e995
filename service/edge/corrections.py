"""Put our classes where Hypercorn looks its own up."""

from __future__ import annotations

import hypercorn.protocol
import hypercorn.protocol.h2
import hypercorn.trio.run
import hypercorn.trio.tcp_server

from service.edge.buffers import Buffer
from service.edge.calls import Calls
from service.edge.connection import Connection
from service.edge.http1 import HTTP1
from service.edge.http2 import HTTP2
from service.edge.worker import worker_serve

__all__ = ["CORRECTIONS", "ORIGINALS", "install"]

CORRECTIONS = (
    (hypercorn.trio.run, "worker_serve", worker_serve),
    (hypercorn.trio.run, "TCPServer", Connection),
    (hypercorn.trio.tcp_server, "TaskGroup", Calls),
    (hypercorn.protocol, "H11Protocol", HTTP1),
    (hypercorn.protocol, "H2Protocol", HTTP2),
    (hypercorn.protocol.h2, "StreamBuffer", Buffer),
)
"""Module, name there, and what it means from now on."""

ORIGINALS = tuple((module, name, getattr(module, name)) for module, name, _ in CORRECTIONS)
"""What it meant before."""


def install() -> None:
    """Let Hypercorn's Trio worker use ours, for whichever command serves."""
    for module, name, ours in CORRECTIONS:
        setattr(module, name, ours)
