"""Logs: one line per fact, JSON when nobody watches a terminal, keys never."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Protocol, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.redaction import HIDDEN, hide_keys, presentable

__all__ = ["configure", "hide"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
MOST_SECRETS = 256
"""Each is looked for in every value of a line, so there is a bound: those named last stay known. As
many are never in use at once."""
LONGEST_WORDS = 4000
"""Characters of one value in a line; a traceback is longer and is let through whole."""


class Output(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object:
        """Take a line."""

    def flush(self) -> object:
        """Let it leave."""

    def isatty(self) -> bool:
        """Whether a person looks at them as they come."""


_output: Output | None = None
"""Where the lines go; None: nobody has said."""


def lost_lines() -> int:
    """How many lines could not be written since the process began."""
    return getattr(_output, "lost", 0)


def configure(
    level: str = "info", *, secrets: Iterable[str] = (), output: Output | None = None
) -> None:
    """Send the service's log to `output` (standard error), from `level` on.

    `secrets` are cut out of every value, tracebacks included. What Trio has to say, which is that
    a connection can't be accepted for want of descriptors, goes the same way.
    """
    global _output
    _output = output = output or sys.stderr
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _Redactor(secrets),
    ]
    if output.isatty():
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, output)),
        cache_logger_on_first_use=False,
    )
    trio_logger = logging.getLogger("trio")
    trio_logger.handlers = [_Forwarded()]
    trio_logger.propagate = False


def hide(secrets: Iterable[str]) -> None:
    """Cut these out, too, from the next line on; those that were named before stay known."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, _Redactor):
            processor.hide(secrets)


class _Forwarded(logging.Handler):
    """Hands a library's lines on as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.warning("library", library=record.name, words=record.getMessage())


class _Redactor:
    """Makes every string of a line presentable; a traceback keeps its lines."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: dict[str, None] = {}
        self._longest_first: list[str] = []
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        for secret in filter(None, secrets):
            self._secrets.pop(secret, None)
            self._secrets[secret] = None  # behind the others
        while len(self._secrets) > MOST_SECRETS:
            del self._secrets[next(iter(self._secrets))]
        # One may be the beginning of another, whose end would then be left.
        self._longest_first = sorted(self._secrets, key=len, reverse=True)

    def __call__(self, _: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
        return {key: self._clean(key, value) for key, value in event_dict.items()}

    def _clean(self, key: str, value: object) -> object:
        if not isinstance(value, str):
            return value
        for secret in self._longest_first:
            value = value.replace(secret, HIDDEN)
        return hide_keys(value) if key == "exception" else presentable(value, limit=LONGEST_WORDS)
