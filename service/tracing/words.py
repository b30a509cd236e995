"""What the libraries log, as lines of ours: on one line, without keys, and not without end.

By themselves they would write to standard error what they like, tracebacks among it, with each
batch that a receiver does not take.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from service.redaction import HIDDEN, presentable

__all__ = ["hear_the_libraries"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LIBRARIES = ("opentelemetry", "urllib3")
ONCE_IN_SECONDS = 60.0
"""Said again after that, with how often it was not said: a receiver may be down for days."""
SHORTEST_SECRET = 4
"""Characters; anything shorter would be cut out of every word."""


def hear_the_libraries(secrets: Iterable[str]) -> logging.Handler:
    """From here on what they have to say is said in our log; `secrets` are cut out of it."""
    handler = Forwarded(secrets)
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers = [handler]
        library.propagate = False
    return handler


@dataclass(slots=True)
class _Said:
    """When something was said last, and how often it has not been since."""

    at: float
    unsaid: int = 0


class Forwarded(logging.Handler):
    """Hands on a library's words; the same place in its code once in a minute.

    It is called in whatever thread they come from, and by `logging` under a lock.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(logging.WARNING)
        # The longest first: one may be a part of another.
        kept = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        self._secrets = sorted(kept, key=len, reverse=True)
        self._said: dict[tuple[str, int], _Said] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, or count it."""
        place, now = (record.pathname, record.lineno), time.monotonic()
        said = self._said.get(place)
        if said is not None and now - said.at < ONCE_IN_SECONDS:
            said.unsaid += 1
            return
        unsaid = 0 if said is None else said.unsaid
        self._said[place] = _Said(now)
        more = {"unsaid": unsaid} if unsaid else {}
        log.warning("traces", library=record.name, words=self._words(record), **more)

    def _words(self, record: logging.LogRecord) -> str:
        try:
            words = record.getMessage()
        except Exception:  # the library's format does not fit what it gave
            words = str(record.msg)
        if record.exc_info and record.exc_info[1] is not None:
            words = f"{words} ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        for secret in self._secrets:
            words = words.replace(secret, HIDDEN)
        return presentable(words)
