"""The service's surface: who is let in, by what name, from where, and on behalf of which page.

What stands between the HTTP server and the application, each layer in a file of its own, pure rules
first and the ASGI shell under them. Outermost first:

    nosniff     on every response, whoever gives it
    forwarding  whose request it is, where a trusted proxy passes it on
    hosts       is it meant for us? 421
    origins     may a page of another origin read the answer? CORS, preflights included
    keys        does the caller have a key? 401
    sound       can the name in Host be one at all? 400

Hosts come before keys, so that a page that has rebound a name to our address learns nothing;
origins come before keys, since a preflight carries none, and a page must be able to read its 401.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from service.surface.asgi import ON_DENIED, Asgi, may_have_an_unread_body
from service.surface.forwarding import Proxies, addressed, parse_proxy
from service.surface.hosts import Hosts, named, parse_host, sound
from service.surface.keys import Keys, guarded, key_name, make_key, parse_digest
from service.surface.origins import parse_origin, readable
from service.surface.pages import PAGE_HEADERS, unsniffed

__all__ = [
    "ON_DENIED",
    "PAGE_HEADERS",
    "key_name",
    "make_key",
    "may_have_an_unread_body",
    "parse_digest",
    "parse_host",
    "parse_origin",
    "parse_proxy",
    "surfaced",
]


def surfaced(
    app: Asgi,
    *,
    api_keys: Mapping[str, str],
    cors_origins: Iterable[str],
    hosts: Iterable[str],
    trusted_proxies: Iterable[str],
) -> Asgi:
    """`app` behind every layer that is configured; raises `ValueError` for what can't be read."""
    app = sound(app)
    if api_keys:
        app = guarded(app, Keys(api_keys))
    if origins := frozenset(map(parse_origin, cors_origins)):
        app = readable(app, origins)
    if hosts := tuple(hosts):
        app = named(app, Hosts(hosts))
    if trusted_proxies := tuple(trusted_proxies):
        app = addressed(app, Proxies(trusted_proxies))
    return unsniffed(app)
