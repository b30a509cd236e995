"""What we changed in Hypercorn, each shown beside what it does by itself."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio import run as worker
from hypercorn.trio.tcp_server import TCPServer

import service.edge
from service.edge.connection import Connection


class BeingClosed:
    """A stream that another task is half-closing."""

    async def send_all(self, data: bytes) -> None:
        raise trio.BusyResourceError("another task is currently sending data on this SocketStream")


class Protocol:
    """What Hypercorn's protocol is told."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    async def handle(self, event: Event) -> None:
        self.told.append(event)


def connection_of(kind: type[TCPServer]) -> tuple[TCPServer, Protocol]:
    stream: Any = BeingClosed()
    nothing: Any = None
    connection = kind(nothing, Config(), nothing, nothing, stream)
    protocol: Any = Protocol()
    connection.protocol = protocol
    return connection, protocol


async def test_a_send_that_meets_the_closing_is_told_to_the_protocol() -> None:
    connection, protocol = connection_of(Connection)
    await connection.protocol_send(RawData(b"x"))
    assert protocol.told == [Closed()]


async def test_hypercorn_by_itself_lets_that_end_the_process() -> None:
    connection, _ = connection_of(TCPServer)
    with pytest.raises(trio.BusyResourceError):
        await connection.protocol_send(RawData(b"x"))


def test_whoever_imports_the_edge_has_our_connection() -> None:
    assert service.edge
    assert vars(worker)["TCPServer"] is Connection
