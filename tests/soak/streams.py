"""One response of a provider: its bytes, when they are sent, and how its model must then end."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tests.soak.dialects import Dialect

__all__ = [
    "WHOLE",
    "WORDS",
    "Code",
    "Deed",
    "Ending",
    "Step",
    "Stream",
    "Then",
    "chunked",
    "stream_of",
    "torn",
]

Step: TypeAlias = tuple[float, bytes]
"""Seconds to wait, and then what to send."""
Then: TypeAlias = Literal["keep", "close", "reset", "stay"]
Code: TypeAlias = str | None

WHOLE: frozenset[Code] = frozenset({None})
WORDS = (
    *("the ", "sky ", "is ", "blue, ", "because ", "light ", "scatters", ". ", "Grüße ", "日本語 "),
    *("👋🏽 ", "\n\n", "data: ", '"quoted" ', "\\back ", "\u2028", "<p> ", "{} ", "\t", "naïve "),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a model ends that is left alone."""

    text: str
    """All that it would say; what is heard is a beginning of it."""
    least: int
    """Characters of it that must be heard."""
    codes: frozenset[Code]

    def wrong(self, text: str, code: Code, *, stopped: bool = False) -> str | None:
        """What does not fit; `stopped`: somebody has cut it short, who says so."""
        if not self.text.startswith(text):
            return _difference(self.text, text)
        if stopped and code == "cancelled":
            return None
        if code not in self.codes:
            return f"it ended in {code}, not in {' or '.join(map(str, self.codes))}"
        least = len(self.text) if code is None else self.least
        if len(text) < least and code not in ("total_timeout", "cancelled"):
            return f"{len(text)} characters of {least} arrived, and it ended in {code}"
        return None


def _difference(said: str, heard: str) -> str:
    at = next((n for n, (a, b) in enumerate(zip(said, heard, strict=False)) if a != b), len(said))
    return (
        f"character {at} is not what was said: {heard[at : at + 20]!r}, not {said[at : at + 20]!r}"
    )


@dataclass(frozen=True, slots=True)
class Deed:
    """The bytes of one response, when, and what becomes of the connection."""

    ending: Ending
    steps: Iterable[Step] = ()
    then: Then = "stay"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer's blocks: each with the text that it adds."""

    dialect: Dialect
    blocks: Sequence[tuple[bytes, str]]
    sized: bool = True
    """In HTTP's chunks; without, the body ends where the connection does."""

    @property
    def head(self) -> bytes:
        """Of the response."""
        framing = "Transfer-Encoding: chunked" if self.sized else "Connection: close"
        kind = self.dialect.media_type
        return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n".encode()

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(text for _, text in self.blocks)

    def framed(self, block: bytes) -> bytes:
        """A block as it is sent."""
        return chunked(block) if self.sized else block

    def finish(self) -> bytes:
        """All that makes the answer whole, and the end of the body."""
        end = b"".join(map(self.framed, self.dialect.finish))
        return end + b"0\r\n\r\n" if self.sized else end

    def raw(self) -> bytes:
        """The whole response."""
        body = b"".join(self.framed(block) for block, _ in self.blocks)
        return self.head + body + self.finish()

    def least(self, sent: int) -> int:
        """Characters of the answer that the first so many bytes of the response hold for sure."""
        place, characters = len(self.head), 0
        for block, text in self.blocks:
            place += len(self.framed(block))
            if place <= sent:
                characters += len(text)
        return characters

    def whole(self, steps: Iterable[Step], *, then: Then | None = None) -> Deed:
        """An answer of which nothing is missing."""
        text = self.text
        if then is None:
            then = "keep" if self.sized else "close"
        return Deed(Ending(text, len(text), WHOLE), steps, then)

    def paced(self, gap: float, *, late: float = 0.0) -> Iterator[Step]:
        """The whole response, a block every `gap` seconds."""
        yield late, self.head
        for block, _ in self.blocks:
            yield gap, self.framed(block)
        yield gap, self.finish()


def stream_of(
    dialect: Dialect,
    chance: random.Random,
    fewest: int = 10,
    most: int = 50,
    *,
    sized: bool | None = None,
    thoughts: int = 0,
) -> Stream:
    said = [chance.choice(WORDS) for _ in range(chance.randint(fewest, most))]
    blocks = [(block, "") for block in dialect.begin]
    blocks += [(dialect.thought(chance.choice(WORDS)), "") for _ in range(thoughts)]
    blocks += [(dialect.piece(piece), piece) for piece in said]
    return Stream(dialect, blocks, chance.random() < 0.8 if sized is None else sized)


def torn(chance: random.Random, data: bytes, cuts: int, gap: float) -> Iterator[Step]:
    """The same bytes in pieces that end anywhere."""
    places = sorted(chance.sample(range(1, len(data)), min(cuts, len(data) - 1)))
    for begin, end in zip([0, *places], [*places, len(data)], strict=True):
        yield gap, data[begin:end]
