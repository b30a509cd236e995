"""Logs: one line per fact, JSON when nobody watches a terminal, keys never."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.redaction import HIDDEN, hide_keys, presentable

__all__ = ["configure"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
LONGEST_WORDS = 4000
"""Characters of one value in a line; a traceback is longer and is let through whole."""


def configure(
    level: str = "info", *, secrets: Iterable[str] = (), output: TextIO | None = None
) -> None:
    """Send the service's log to `output` (standard error), from `level` on.

    `secrets` are cut out of every value, tracebacks included.
    """
    output = output or sys.stderr
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
        logger_factory=structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=False,
    )


class _Redactor:
    """Makes every string of a line presentable; a traceback keeps its lines."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [secret for secret in secrets if secret]

    def __call__(self, _: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
        return {key: self._clean(key, value) for key, value in event_dict.items()}

    def _clean(self, key: str, value: object) -> object:
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            value = value.replace(secret, HIDDEN)
        return hide_keys(value) if key == "exception" else presentable(value, limit=LONGEST_WORDS)
