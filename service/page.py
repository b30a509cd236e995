"""The page: its files, and the route that makes HTML of what models write.

The files need no key, for whoever opens the page has had no chance to give one; what it shows, it
asks for as any other client does.
"""

from __future__ import annotations

import re
from importlib import resources

import trio
from quart import Blueprint, Response, abort, request

from service.bodies import json_body
from service.formatting import Formatted, parse_text
from service.generation import Generation
from service.replies import Greeting
from service.responses import Content, json_response, respond
from service.shared import Shared
from service.surface import PAGE_HEADERS

__all__ = ["MEDIA_TYPES", "make_assets", "make_page"]

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""By a name's ending. A file of another kind (the package's own) is not served."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.(?P<ending>[a-z]+)")

POLICY = {
    **PAGE_HEADERS,
    # Nothing from elsewhere, nothing inline, no frame and no plug-in; and what becomes markup does
    # so in one place (`formatted.js`), which says so by a policy of this name.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types formatted"
    ),
}


def make_page(shared: Shared) -> Blueprint:
    """`/`, and the formatting that it asks for."""
    routes = Blueprint("page", __name__)

    @routes.get("/")
    async def index() -> Response:
        wants = request.accept_mimetypes.best_match(["application/json", "text/html"])
        if wants != "text/html":
            greeting = Greeting("compare-stream: POST /compare-stream, or see /docs")
            response = json_response(greeting)
        else:
            response = await _file("index.html", POLICY)
        response.vary.add("Accept")
        return response

    @routes.post("/format", provide_automatic_options=False)
    async def format_text() -> Response:
        limits = Generation.of(request.scope).settings.limits
        body = await json_body(limits.max_body_bytes)
        return json_response(Formatted(await shared.formatter.html_of(parse_text(body))))

    return routes


def make_assets() -> Blueprint:
    """`/web/<name>`: what the page is made of."""
    routes = Blueprint("assets", __name__)

    @routes.get("/web/<name>")
    async def asset(name: str) -> Response:
        # A policy on each: an SVG or an HTML file that is opened by itself is a page as well.
        return await _file(name, POLICY)

    return routes


async def _file(name: str, headers: dict[str, str]) -> Response:
    found = _NAME.fullmatch(name)
    media_type = MEDIA_TYPES.get(found["ending"]) if found else None
    if media_type is None:
        abort(404)
    content = await trio.to_thread.run_sync(_content, name)
    if content is None:
        abort(404)
    return await respond(content, media_type, headers)


def _content(name: str) -> Content | None:
    """Read anew each time: it is small, mostly 304 follows, and who changes it sees it at once."""
    path = resources.files("service.web").joinpath(name)
    return Content.of(path.read_bytes()) if path.is_file() else None
