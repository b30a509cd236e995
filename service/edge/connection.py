"""A connection of Hypercorn's that survives being closed while it is sent to.

A client's GOAWAY makes Hypercorn half-close the socket, which takes a step of the scheduler. A task
that sends in that step, as HTTP/2's does when it wakes to find its streams gone, gets Trio's
`BusyResourceError`. Hypercorn does not expect it, and an exception of one connection ends its
whole process.
"""

from __future__ import annotations

import trio
from hypercorn.events import Closed, Event
from hypercorn.trio import run as worker
from hypercorn.trio.tcp_server import TCPServer

__all__ = ["install"]


class Connection(TCPServer):
    """Hypercorn's connection, with one more way to learn that it is closed."""

    async def protocol_send(self, event: Event) -> None:
        """Send, or tell the protocol that nothing can be sent any more."""
        try:
            await super().protocol_send(event)
        except trio.BusyResourceError:
            # Sends are serialised by a lock: whoever is at it besides us is closing.
            await self.protocol.handle(Closed())


def install() -> None:
    """Let Hypercorn's Trio worker use ours; it looks the name up for each start."""
    vars(worker)["TCPServer"] = Connection
