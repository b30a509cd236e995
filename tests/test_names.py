"""Names are looked up so that one that hangs holds up no other."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import trio

from service.errors import ProviderError
from service.upstream.faults import provider_errors
from service.upstream.names import THREADS_PER_NAME, look_names_up_apart

KNOWN = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """A resolver that knows `known.test`, and hangs at `hangs.test`; counts the lookups that do."""
    release, begun = threading.Event(), threading.Semaphore(0)

    def getaddrinfo(host: bytes | str, *rest: Any) -> Any:
        if rest[-1] & socket.AI_NUMERICHOST:  # Trio looks first whether there is a need to ask
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        if b"hangs" in (host if isinstance(host, bytes) else host.encode()):
            begun.release()
            release.wait(10)
        return KNOWN

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield begun
    release.set()


async def test_a_name_that_hangs_takes_a_few_threads_and_no_other_name_waits(
    hanging: threading.Semaphore,
) -> None:
    look_names_up_apart()
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(trio.socket.getaddrinfo, "hangs.test", 80)
        for _ in range(THREADS_PER_NAME):
            await trio.to_thread.run_sync(hanging.acquire)
        with trio.fail_after(5):
            assert await trio.socket.getaddrinfo("known.test", 80) == KNOWN
        assert not hanging.acquire(blocking=False)
        nursery.cancel_scope.cancel("enough is seen")


async def test_a_resolver_that_is_in_use_stays(hanging: threading.Semaphore) -> None:
    look_names_up_apart()
    first = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(first)
    look_names_up_apart()
    assert trio.socket.set_custom_hostname_resolver(None) is first


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_for_want_of_descriptors_it_is_the_service_that_is_overloaded(code: int) -> None:
    lacking = OSError(code, "Too many open files")
    several = OSError("all attempts to connect failed")
    several.__cause__ = ExceptionGroup("attempts", [OSError("refused"), lacking])
    for cause in (lacking, several):
        with pytest.raises(ProviderError) as raised, provider_errors():
            raise httpx.ConnectError("failed") from cause
        assert raised.value.code == "overloaded"
        assert raised.value.retryable
