"""What a browser may do with what we send."""

from __future__ import annotations

from service.surface.asgi import Asgi, Receive, Scope, Send, adding

__all__ = ["PAGE_HEADERS", "unsniffed"]

NOSNIFF = ((b"x-content-type-options", b"nosniff"),)

PAGE_HEADERS = {
    # A page that needs more says so in its own policy; `/docs` does.
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",  # for browsers that do not know `frame-ancestors`
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""For every page."""


def unsniffed(app: Asgi) -> Asgi:
    """`app`, its responses taken for what they say they are.

    An answer may hold any text, HTML too; a browser must not guess that a stream or JSON is a page.
    """

    async def as_it_says(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, adding(send, NOSNIFF) if scope["type"] == "http" else send)

    return as_it_says
