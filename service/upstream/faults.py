"""The one table from httpx's errors to ours."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator
from types import TracebackType

import httpx

from service.errors import ProviderError

__all__ = ["causes_of", "provider_errors", "raise_ours"]

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
"""This process, or the system, has as many files open as it may."""


class provider_errors:  # noqa: N801  # it reads as the contextlib function that it is like
    """Raise `ProviderError` in place of httpx's errors, whose words may hold addresses.

    A class, since every request enters it twice and a generator's context takes ten times as long.
    """

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        raise_ours(exc)


def raise_ours(exc: BaseException | None) -> None:
    """Raise `ProviderError` from this if it is one of httpx's; for a context's `__exit__`."""
    if isinstance(exc, (httpx.HTTPError, httpx.InvalidURL)):
        raise _translated(exc) from exc


def _translated(exc: httpx.HTTPError | httpx.InvalidURL) -> ProviderError:
    match exc:
        case httpx.ConnectError():
            return _unreachable(exc)
        case httpx.RemoteProtocolError() if not _ended_early(exc):
            return ProviderError("protocol_error", "The provider's answer was no valid HTTP.")
        case (
            httpx.RemoteProtocolError()
            | httpx.ReadError()
            | httpx.WriteError()
            | httpx.CloseError()
        ):
            return ProviderError(
                "upstream_disconnected",
                "The provider closed the connection before the answer was whole.",
                retryable=True,
            )
    return ProviderError("protocol_error", "The request to the provider could not be made.")


def _unreachable(exc: httpx.ConnectError) -> ProviderError:
    causes = list(causes_of(exc))
    if any(getattr(cause, "errno", None) in NO_DESCRIPTORS for cause in causes):
        return ProviderError(
            "overloaded",
            "The service can open no more connections; try again in a moment.",
            retryable=True,
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return ProviderError(
            "tls_error", "The provider's TLS certificate or handshake was refused."
        )
    return ProviderError(
        "connect_error",
        "Could not connect to the provider; is it up, and is there a network?",
        retryable=True,
    )


def _ended_early(exc: httpx.RemoteProtocolError) -> bool:
    """Whether the peer closed too soon rather than sent nonsense; h11 and httpcore say it so."""
    words = str(exc).lower()
    return "closed connection" in words or "disconnected" in words


def causes_of(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what led to it, the members of groups included."""
    while exc is not None:
        yield exc
        if isinstance(exc, BaseExceptionGroup):
            for member in exc.exceptions:
                yield from causes_of(member)
        exc = exc.__cause__ or exc.__context__
