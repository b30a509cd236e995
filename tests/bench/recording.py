"""What a client saw of one comparison: the bytes of its body, and when they came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Recording", "WrongStream", "without_framing"]


class WrongStream(Exception):
    """A server did not say what it had to; with what is wrong."""


@dataclass(slots=True)
class Recording:
    """The body of one response, the framing of HTTP taken off. Moments: monotonic nanoseconds."""

    asked_at: int
    """The request was about to be sent."""
    status: int = 0
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    """Each with the moment at which the read returned that held its last byte."""
    whole: bool = False
    """Whether the end of the body came, as HTTP says it."""


def without_framing(asked_at: int, moments: Sequence[int], reads: Sequence[bytes]) -> Recording:
    """The recording in the raw reads of one response over HTTP/1.1, whose body is chunked.

    Raises:
        WrongStream: that is not what the reads hold.
    """
    recording = Recording(asked_at)
    stream = zip(moments, reads, strict=True)
    moment, rest = asked_at, b""
    while b"\r\n\r\n" not in rest:
        moment, data = _next(stream)
        rest += data
    head, _, rest = rest.partition(b"\r\n\r\n")
    recording.status = int(head.split()[1])
    if b"\r\ntransfer-encoding: chunked" not in head.lower():
        raise WrongStream(f"status {recording.status}, and not chunked: {rest[:200]!r}")
    while not recording.whole:
        at = 0
        while (end := rest.find(b"\r\n", at)) >= 0:
            size = int(rest[at:end], 16)
            if len(rest) < end + size + 4:
                break
            if rest[end + 2 + size : end + 4 + size] != b"\r\n":
                raise WrongStream("a chunk of HTTP is not as long as it says")
            if size == 0:
                recording.whole = True
                if len(rest) > end + 4:
                    raise WrongStream("bytes follow the end of the body")
                break
            recording.pieces.append((moment, rest[end + 2 : end + 2 + size]))
            at = end + 4 + size
        rest = rest[at:]
        if not recording.whole:
            try:
                moment, data = next(stream)
            except StopIteration:
                break
            rest += data
    return recording


def _next(stream: Iterator[tuple[int, bytes]]) -> tuple[int, bytes]:
    try:
        return next(stream)
    except StopIteration:
        raise WrongStream("the connection ended before the response's head") from None
