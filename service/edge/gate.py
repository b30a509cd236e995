"""What one running server knows of its connections: their bounds, their number, and when to go.

Hypercorn makes each connection from its `Config`, so that is what carries the gate to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
import trio
from hypercorn.config import Config

from service.meter import Meter

__all__ = ["Bounds", "Gate", "gate_of", "when"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LOOK_SECONDS = 0.02
"""Between two looks at something that nobody reports: what clients have taken of the kernel's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a client may take of a server; times are seconds."""

    write_timeout: float = 10
    """For a client to take what is pending."""
    connections_per_address: int = 0
    """Open at once; 0: no limit."""
    resets_per_connection: int = 100
    """HTTP/2 requests that may be taken back at once."""
    drain: float = 30
    """For running requests to end once the server is told to."""


class Held(Protocol):
    """A connection as its gate sees it."""

    def cut(self) -> None:
        """Close the socket, whoever is at it."""

    def owes(self) -> bool:
        """Whether its client is on its way to taking the last that it was sent."""


class Gate:
    """The connections of one server."""

    def __init__(self, bounds: Bounds, meter: Meter | None = None) -> None:
        self.bounds = bounds
        self._meter = meter or Meter()
        self.draining = trio.Event()
        """Set once the server is told to end: what is idle closes, and nothing new is taken."""
        self._held: set[Held] = set()
        self._addresses: Counter[str] = Counter()
        self._refused: set[str] = set()
        """Addresses that are at their limit, and of whose refusals the log has a line."""

    @contextmanager
    def holding(self, connection: Held, address: str | None) -> Iterator[bool]:
        """Count a connection while it lasts; False for one that is too many of its address."""
        limit = self.bounds.connections_per_address
        if address is None or not limit:  # a Unix-domain socket has none
            address = ""
        elif self._addresses[address] >= limit:
            if address not in self._refused:
                self._refused.add(address)
                log.warning("client cut", reason="connections", client=address, limit=limit)
            self._meter.cuts["connections"] += 1
            yield False
            return
        self._held.add(connection)
        self._meter.connections += 1
        self._addresses[address] += 1
        try:
            yield True
        finally:
            self._held.discard(connection)
            self._meter.connections -= 1
            self._addresses[address] -= 1
            self._refused.discard(address)
            if not self._addresses[address]:
                del self._addresses[address]  # or it would remember every address for ever

    def contain(self, error: BaseException, client: str | None) -> None:
        """Write down a fault that one connection met, and that must not reach the others."""
        self._meter.faults += 1
        log.error("connection failed", client=client, contained=self._meter.faults, exc_info=error)

    def tell_of_a_cut(self, reason: str, client: str | None) -> None:
        """Write down that a client's connection was ended for this reason."""
        self._meter.cuts[reason] += 1
        log.warning("client cut", reason=reason, client=client)

    def count_refusal(self, code: str) -> None:
        """A request was refused before the application saw it."""
        self._meter.refusals[code] += 1

    def owes(self) -> bool:
        """Whether some client has not taken the end of what it was sent."""
        return any(connection.owes() for connection in self._held)

    def cut_all(self) -> None:
        """Close every socket; whoever sends or receives on one wakes up."""
        for connection in list(self._held):
            connection.cut()


def gate_of(config: Config) -> Gate:
    """The gate that `config` carries; one with the usual bounds if it has none yet."""
    carrier: Any = vars(config)
    gate: Gate = carrier.setdefault("_gate", Gate(Bounds()))
    return gate


async def when(true: Callable[[], bool]) -> None:
    """Return when this has become true, which nobody reports."""
    await trio.lowlevel.checkpoint()
    while not true():  # noqa: ASYNC110
        await trio.sleep(LOOK_SECONDS)
