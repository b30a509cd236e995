"""Whose request it is, when a proxy passes it on.

`X-Forwarded-For` is a list to which each proxy adds, at its right end, the address it was asked
from. Whatever stands further left was in the request when it came and may be invented. So it is
read from the right: as long as an address is that of a proxy we trust, what it added is true, and
the first that is not is the client. From a peer that is not trusted nothing is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from service.surface.asgi import Asgi, Receive, Scope, Send, values_of

__all__ = ["Proxies", "addressed", "parse_proxy"]

UNIX = "unix"
"""Stands for a peer without an address: whoever may open our Unix-domain socket."""
EXPECTED = f'expected an address, a network such as "10.0.0.0/8", or "{UNIX}"'

_HOP = re.compile(
    r"\[(?P<bracketed>[0-9a-f:.]+)\](?::[0-9]*)?|(?P<v4>[0-9.]+)(?::[0-9]*)?|(?P<v6>[0-9a-f:.]+)",
    re.IGNORECASE,
)

Address = IPv4Address | IPv6Address


def parse_proxy(text: str) -> str:
    """A trusted proxy as the settings name it; raises `ValueError` with what was expected."""
    if text == UNIX:
        return UNIX
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(EXPECTED) from None
    raise ValueError(f'{text!r} has bits set behind its prefix; expected "{network}"')


class Proxies:
    """The peers whose word is taken."""

    def __init__(self, trusted: Iterable[str]) -> None:
        parsed = [parse_proxy(text) for text in trusted]
        self._unix = UNIX in parsed
        self._networks = [ip_network(text) for text in parsed if text != UNIX]

    def client_of(self, peer: str | None, forwarded: str) -> str | None:
        """The client's address, given the peer's and what `X-Forwarded-For` says."""
        if not self._trusts_peer(peer):
            return peer
        client = peer
        for hop in reversed(forwarded.split(",")):
            if not hop.strip():
                continue  # a list may have empty elements: RFC 9110, 5.6.1.2
            address = _address(hop.strip())
            if address is None:
                break  # words such as `unknown`; what is left of them is as little worth
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def _trusts_peer(self, peer: str | None) -> bool:
        if not peer:
            return self._unix
        address = _address(peer)
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    found = _HOP.fullmatch(text.partition("%")[0])  # a link-local peer's comes with its interface
    try:
        address = ip_address(found["bracketed"] or found["v4"] or found["v6"]) if found else None
    except ValueError:
        return None
    # As a socket that takes both families names its IPv4 peers: `::ffff:192.0.2.1`.
    return getattr(address, "ipv4_mapped", None) or address


def addressed(app: Asgi, proxies: Proxies) -> Asgi:
    """`app`, with `scope["client"]` the client's address and not that of a trusted proxy."""

    async def with_its_address(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            peer = scope.get("client")
            peer_address = peer[0] if peer else None
            forwarded = b",".join(values_of(scope, b"x-forwarded-for")).decode("latin-1")
            client = proxies.client_of(peer_address, forwarded)
            if client is not None and client != peer_address:
                scope["client"] = (client, 0)  # nobody says the port
        await app(scope, receive, send)

    return with_its_address
