"""The one table from httpx's errors to ours."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from service.errors import ProviderError

__all__ = ["provider_errors"]

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
"""This process, or the system, has as many files open as it may."""


@contextmanager
def provider_errors() -> Iterator[None]:
    """Raise `ProviderError` in place of httpx's errors, whose words may hold addresses."""
    try:
        yield
    except httpx.ConnectError as exc:
        causes = list(_causes_of(exc))
        if any(getattr(cause, "errno", None) in NO_DESCRIPTORS for cause in causes):
            raise ProviderError(
                "overloaded",
                "The service can open no more connections; try again in a moment.",
                retryable=True,
            ) from exc
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            raise ProviderError(
                "tls_error", "The provider's TLS certificate or handshake was refused."
            ) from exc
        raise ProviderError(
            "connect_error",
            "Could not connect to the provider; is it up, and is there a network?",
            retryable=True,
        ) from exc
    except httpx.RemoteProtocolError as exc:
        if _ended_early(exc):
            raise _disconnected() from exc
        raise ProviderError("protocol_error", "The provider's answer was no valid HTTP.") from exc
    except (httpx.ReadError, httpx.WriteError, httpx.CloseError) as exc:
        raise _disconnected() from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ProviderError(
            "protocol_error", "The request to the provider could not be made."
        ) from exc


def _disconnected() -> ProviderError:
    return ProviderError(
        "upstream_disconnected",
        "The provider closed the connection before the answer was whole.",
        retryable=True,
    )


def _ended_early(exc: httpx.RemoteProtocolError) -> bool:
    """Whether the peer closed too soon rather than sent nonsense; h11 and httpcore say it so."""
    words = str(exc).lower()
    return "closed connection" in words or "disconnected" in words


def _causes_of(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and what led to it, the members of groups included."""
    while exc is not None:
        yield exc
        if isinstance(exc, BaseExceptionGroup):
            for member in exc.exceptions:
                yield from _causes_of(member)
        exc = exc.__cause__ or exc.__context__
