"""What clients ask, and how many of them at once; what the provider's chunks say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

__all__ = ["TEXT", "Load", "Pace", "numbered"]

TEXT = b"%06d@%015d "
"""A chunk's text: its number in its answer, and the moment at which the provider sent it, in
nanoseconds of the monotonic clock, which all processes of a machine share."""

_TEXT = re.compile(r"(\d{6})@(\d{15}) ")


def numbered(text: str) -> tuple[int, int] | None:
    """Number and moment of a chunk's text; None when the provider sent no such text."""
    match = _TEXT.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class Pace:
    """How one model answers. Its name says it, so that one provider serves every load."""

    chunks: int
    gap_ms: int
    """Between two chunks; 0: as fast as they are taken."""

    def name(self, number: int) -> str:
        """A model of this pace."""
        return f"m{number}-{self.chunks}-{self.gap_ms}"

    @classmethod
    def of(cls, name: str) -> Pace:
        """The pace of a model that `name` made."""
        _, chunks, gap_ms = name.split("-")
        return cls(int(chunks), int(gap_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Comparisons that are all alike."""

    comparisons: int
    models: int = 9
    pace: Pace
    at_once: int | None = None
    """So many run at the same time, each on a connection that it leaves to the next; None: all."""
    begin_within_seconds: float = 0.0
    """The comparisons begin evenly within this time; 0: together."""
    http2_connections: int = 0
    """Connections of HTTP/2 that share the comparisons; 0: HTTP/1.1, one connection for each."""

    @property
    def names(self) -> list[str]:
        """The models of one comparison, in the order of the request."""
        return [f"p:{self.pace.name(number)}" for number in range(self.models)]

    @property
    def chunks(self) -> int:
        """All chunks of all comparisons."""
        return self.comparisons * self.models * self.pace.chunks

    def question(self) -> bytes:
        """The body of one request."""
        return json.dumps({"input_data": "Why is the sky blue?", "models": self.names}).encode()

    def tenth(self) -> Load:
        """The same with about a tenth of the chunks, for a look at the machinery."""
        return replace(
            self,
            comparisons=-(-self.comparisons // 3),
            pace=replace(self.pace, chunks=-(-self.pace.chunks // 4)),
            begin_within_seconds=self.begin_within_seconds / 3,
            http2_connections=-(-self.http2_connections // 3),
        )

    def __str__(self) -> str:
        pace = f"every {self.pace.gap_ms} ms" if self.pace.gap_ms else "at full speed"
        http = " over HTTP/2" if self.http2_connections else ""
        most = f", {self.at_once} at once" if self.at_once else ""
        return f"{self.comparisons} x {self.models} x {self.pace.chunks} {pace}{most}{http}"
