"""Looking up providers' names, so that one whose name server hangs holds up no other.

The system's resolver blocks a thread, and a thread that hangs can't be taken back. Trio lends all
lookups the same forty; here every name has a few of its own.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import trio

__all__ = ["look_names_up_apart"]

THREADS_PER_NAME = 4
"""Lookups of one name at once. The rest wait, within the time that they have to connect."""
MOST_NAMES = 1000
"""Names remembered; they come from the settings, so that this is never reached."""


class _Resolver(trio.abc.HostnameResolver):
    """The system's resolver, with threads for each name."""

    def __init__(self) -> None:
        self._limiters: dict[Any, trio.CapacityLimiter] = {}

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # Trio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """As `socket.getaddrinfo`; cancelled, it leaves its thread behind."""
        if len(self._limiters) >= MOST_NAMES:
            self._limiters.clear()
        limiter = self._limiters.setdefault(host, trio.CapacityLimiter(THREADS_PER_NAME))
        look_up = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
        return await trio.to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=limiter)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """As `socket.getnameinfo`."""
        look_up = partial(socket.getnameinfo, sockaddr, flags)
        return await trio.to_thread.run_sync(look_up, abandon_on_cancel=True)


def look_names_up_apart() -> None:
    """Use it in this run of Trio, unless another resolver is in use already."""
    others = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(others or _Resolver())
