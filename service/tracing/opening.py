"""Whether traces are wanted, as the environment says by OpenTelemetry's own variables.

A service that can't be watched serves all the same: what is wrong with the variables, or that the
extra is not installed, is one line of the log.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
import trio

from service.tracing.current import OFF, Tracing

if TYPE_CHECKING:
    from service.tracing.exporting import Exporting

__all__ = ["open_tracing"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FLUSH_SECONDS = 2.0
"""For the last spans when serving has ended: a receiver in order takes them in milliseconds, and
one that is not must not keep a process that was told to end."""

INSTALL = "the extra is not installed: pip install 'compare-stream[otel]'"


class Unable(Exception):
    """Traces were asked for and can't be sent; the words say why, without any value."""


@asynccontextmanager
async def open_tracing(environ: Mapping[str, str] = os.environ) -> AsyncIterator[Tracing]:
    """The process's traces, or `OFF`; never raises by itself.

    When the context is left, cancelled or not, what has not been sent has 2 s to be.
    """
    exporting = _begin(environ)
    if exporting is None:
        yield OFF
        return
    try:
        yield exporting.tracing
    finally:
        with trio.move_on_after(FLUSH_SECONDS, shield=True) as flush:
            await trio.to_thread.run_sync(exporting.flush, abandon_on_cancel=True)
        if flush.cancelled_caught:
            exporting.abandon()
            log.warning("traces lost", seconds=FLUSH_SECONDS, why="the receiver did not take them")


def _begin(environ: Mapping[str, str]) -> Exporting | None:
    try:
        if not _are_wanted(environ):
            return None
        try:
            from service.tracing.exporting import Exporting
        except ImportError as error:
            raise Unable(INSTALL) from error
        return Exporting(environ)
    except Unable as error:
        log.warning("traces are off", why=str(error))
    except Exception as error:
        # The library's, of one of its many variables; its words may quote the value.
        log.warning("traces are off", why=f"a variable of OpenTelemetry's: {type(error).__name__}")
    return None


def _are_wanted(environ: Mapping[str, str]) -> bool:
    """Raises `Unable` for what was asked for and is not there."""

    def of_traces(name: str) -> tuple[str, str]:
        """The variable of all signals, or the one for traces, which goes before it."""
        names = (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}")
        return next(
            ((each, environ[each].strip()) for each in names if environ.get(each, "").strip()),
            (names[1], ""),
        )

    variable, endpoint = of_traces("ENDPOINT")
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not endpoint or is_disabled or exporters == "none":
        return False
    if exporters != "otlp":
        raise Unable("OTEL_TRACES_EXPORTER is neither otlp nor none, and no other is there")
    named, protocol = of_traces("PROTOCOL")
    if protocol not in ("", "http/protobuf"):
        raise Unable(f"{named} is not http/protobuf, the only one there (port 4318 as a rule)")
    if not _is_http(endpoint):
        raise Unable(f"{variable} is no address such as http://127.0.0.1:4318")
    return True


def _is_http(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is none
        return False
