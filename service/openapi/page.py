"""Where the document and its page are served from; nothing comes from another host.

The page is swagger-ui, whose files the package `offapi` carries. They are found, not imported:
importing it reads 9 MB and builds pages that we do not use.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import msgspec
import trio
from quart import Blueprint, Response, abort

from service.openapi.document import document
from service.responses import Content, respond
from service.surface import PAGE_HEADERS

__all__ = ["make_documentation"]

HTML = "text/html; charset=utf-8"
JAVASCRIPT = "text/javascript; charset=utf-8"
CSS = "text/css; charset=utf-8"

ASSETS = {
    "swagger.js": JAVASCRIPT,
    "swagger.css": CSS,
    "docs.js": JAVASCRIPT,
}
"""What `/docs/<asset>` has, and as what."""

POLICY = {
    **PAGE_HEADERS,
    # Icons are data URLs; swagger-ui needs no inline style and no `eval`.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def make_documentation() -> Blueprint:
    """`/openapi.json`, and `/docs` to read it and to try it out."""
    routes = Blueprint("documentation", __name__)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return await respond(await trio.to_thread.run_sync(_document), "application/json")

    @routes.get("/docs")
    async def docs() -> Response:
        return await respond(await trio.to_thread.run_sync(_file, "docs.html"), HTML, POLICY)

    @routes.get("/docs/<asset>")
    async def docs_asset(asset: str) -> Response:
        if asset not in ASSETS:
            abort(404)
        return await respond(await trio.to_thread.run_sync(_file, asset), ASSETS[asset])

    return routes


# Both are slow once (a file of 1.5 MB, the sources parsed), so they run in a thread.


@cache
def _document() -> Content:
    return Content.of(msgspec.json.encode(document()))


@cache
def _file(name: str) -> Content:
    return Content.of(_path(name).read_bytes())


def _path(name: str) -> Path:
    match name:
        case "swagger.js":
            return _swagger() / "swagger_bundle.js"
        case "swagger.css":
            return _swagger() / "swagger_style.css"
    return Path(__file__).with_name(name)


def _swagger() -> Path:
    spec = find_spec("offapi")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("The package offapi, which has the files of /docs, is missing.")
    return Path(spec.submodule_search_locations[0])
