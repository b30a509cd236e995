"""The names that the service answers to.

A page that makes its own name point to our address (DNS rebinding) is, to a browser, of our origin:
neither CORS nor anything else keeps it from asking. What gives it away is the name in `Host`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from service.surface.asgi import Asgi, Denial, Receive, Scope, Send, deny, path_of, values_of

__all__ = ["Hosts", "named", "parse_host", "sound"]

EXPECTED = 'expected a host name or address without a port, such as "example.org", "*.example.org"'
ASKED_BY_ADDRESS = frozenset({"/health", "/readyz", "/api/health", "/api/readyz"})
"""Paths of any name: whoever probes them (a load balancer, an orchestrator) uses an address."""
SCRAPED_BY_ADDRESS = "/metrics"
"""Prometheus uses an address, too; but what it gets, no page that has rebound a name may read. Such
a page is asked for by its name, so an address in `Host` is whatever it says."""

# 421, as RFC 9110, 15.5.20 has it: the request is sound, but the server it was sent to is not
# configured to answer for this name. A client of HTTP/2 that reused a connection for another name
# of the same certificate knows by it to open one of its own.
WRONG_HOST = Denial(
    421, "wrong_host", "This service does not answer to the name that the request has in Host."
)
NO_HOST = Denial(400, "bad_request", "The request's Host is missing or is no host name.")

_LABELS = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
_NAME = re.compile(rf"(?:\*\.)?{_LABELS}", re.IGNORECASE)
_HOST = re.compile(
    rf"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>{_LABELS})\.?)(?::[0-9]*)?", re.IGNORECASE
)


def parse_host(text: str) -> str:
    """A name of the settings, made comparable; raises `ValueError` with what was expected."""
    if _NAME.fullmatch(text):
        return text.lower()
    address = _v6(text.removeprefix("[").removesuffix("]"))
    if address is None:
        raise ValueError(EXPECTED)
    return address


class Hosts:
    """The names of the service; `*.example.org` stands for every name that ends so."""

    def __init__(self, names: Iterable[str]) -> None:
        parsed = [parse_host(name) for name in names]
        self._names = frozenset(parsed)
        self._endings = tuple(name[1:] for name in parsed if name.startswith("*."))

    def denial_of(self, values: Iterable[bytes], *, any_address: bool = False) -> Denial | None:
        """Why a request with these lines of `Host` is not answered; None: it is.

        `any_address`: it would be at any address, whichever are named.
        """
        lines = list(values)
        name = _name_in(lines[0]) if len(lines) == 1 else None
        if name is None:
            return NO_HOST
        if any_address and _is_address(name):
            return None
        return None if name in self._names or name.endswith(self._endings) else WRONG_HOST


def _name_in(value: bytes) -> str | None:
    """The name in a `Host` header, without its port; None: there is none."""
    found = _HOST.fullmatch(value.decode("latin-1").strip())
    if found is None:
        return None
    return found["name"].lower() if found["name"] else _v6(found["v6"])


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _v6(text: str) -> str | None:
    try:
        return str(IPv6Address(text))
    except ValueError:
        return None


def sound(app: Asgi) -> Asgi:
    """`app`, for requests whose `Host` can be a name; at another one the framework fails."""

    async def if_it_can_be_one(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http":
                for value in values_of(scope, b"host"):
                    value.decode("latin-1").lower().encode("idna")
        except UnicodeError:
            await deny(scope, send, NO_HOST)
            return
        await app(scope, receive, send)

    return if_it_can_be_one


def named(app: Asgi, hosts: Hosts) -> Asgi:
    """`app`, for requests that have one of these names in `Host` (or `:authority`)."""

    async def by_its_name(scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] == "http" else None
        if path is not None and path not in ASKED_BY_ADDRESS:
            values = values_of(scope, b"host")
            denial = hosts.denial_of(values, any_address=path == SCRAPED_BY_ADDRESS)
            if denial is not None:
                await deny(scope, send, denial)
                return
        await app(scope, receive, send)

    return by_its_name
