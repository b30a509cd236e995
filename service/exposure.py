"""Who can reach an address, and what it would cost to let them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from service.settings import SIMULATOR, Settings

__all__ = ["warning_for"]

REMEDY = (
    "set [server] api_keys in the settings (`compare-stream key NAME` makes one), "
    "or bind to 127.0.0.1"
)


def warning_for(addresses: Iterable[str], settings: Settings) -> str | None:
    """One sentence for an operator who lets strangers in without a key; None: nobody is let in.

    `addresses` are what the service is bound to: `host:port`, with or without a scheme, or
    `unix:PATH`. The first that others can reach is the one that is named.
    """
    if settings.server.api_keys:
        return None
    for address in addresses:
        host = _host_of(address)
        if host is not None and (who := _who_reaches(host)) is not None:
            return f"No key is asked for at {address}: {who} {_at_stake(settings)}; {REMEDY}."
    return None


def _host_of(address: str) -> str | None:
    """The host of an address; empty: every one of this machine; None: there is none."""
    if address.startswith("unix:"):
        return None
    rest = address.rpartition("://")[2].partition("/")[0]
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest if rest.count(":") > 1 else rest.partition(":")[0]


def _who_reaches(host: str) -> str | None:
    """Whoever can connect to a host's port, in words; None: only this machine."""
    if host in ("", "*"):
        return "everybody who can reach this machine"
    try:
        ip = _unmapped(ip_address(host.partition("%")[0]))
    except ValueError:
        return None if host == "localhost" else "everybody who can reach that name"
    if ip.is_loopback:
        return None
    if ip.is_unspecified:
        return "everybody who can reach this machine"
    return "everybody on the internet" if ip.is_global else "everybody on its network"


def _unmapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return getattr(ip, "ipv4_mapped", None) or ip


def _at_stake(settings: Settings) -> str:
    if settings.keys:
        return f"can spend the credit of your keys ({', '.join(settings.keys)})"
    others = [name for name in settings.providers if name != SIMULATOR]
    others = [name for name in others if settings.providers[name].dialect != "simulated"]
    if others:
        return f"can put your providers to work ({', '.join(others)})"
    return "can ask it, though only simulated models, which cost nothing"
