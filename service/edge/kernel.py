"""What the kernel is told of a listening socket's connections, which inherit it."""

from __future__ import annotations

import socket
from typing import Any

from hypercorn.config import Sockets

from service.edge.gate import Bounds

__all__ = ["bound_what_the_kernel_holds"]

NOT_SENT_BYTES = 32 * 1024
"""What the kernel may hold of a connection that it has not sent: with more, a client that does
not read would be noticed late, and what it is sent would be old."""


def bound_what_the_kernel_holds(sockets: Sockets, bounds: Bounds) -> None:
    """Options that accepted connections inherit; where the system has them (Linux does)."""
    options: dict[str, Any] = {
        # For a window that stays shut: the kernel gives up where no write of ours could notice.
        "TCP_USER_TIMEOUT": max(1, int(min(bounds.write_timeout * 1000, 2**31 - 1))),
        "TCP_NOTSENT_LOWAT": NOT_SENT_BYTES,
    }
    for listening in (*sockets.secure_sockets, *sockets.insecure_sockets):
        if listening.family not in (socket.AF_INET, socket.AF_INET6):
            continue
        for name, value in options.items():
            option = getattr(socket, name, None)
            if option is not None:
                listening.setsockopt(socket.IPPROTO_TCP, option, value)
