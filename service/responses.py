"""What the routes answer with: JSON, and files that a browser keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from quart import Response, request

__all__ = ["Content", "json_response", "respond"]

HEADERS = {
    # Asked for each time and answered with 304 until the content is another one.
    "Cache-Control": "no-cache",
}


def json_response(
    value: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """`value` as a JSON body."""
    return Response(
        msgspec.json.encode(value), status, headers=headers, content_type="application/json"
    )


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file, and what they are known by."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Content:
        """`body`, known by its digest."""
        return cls(body, hashlib.sha256(body).hexdigest()[:32])


async def respond(
    content: Content, content_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The content, or 304 to whoever has it already."""
    response = Response(
        content.body, headers={**HEADERS, **(headers or {})}, content_type=content_type
    )
    response.set_etag(content.etag)
    await response.make_conditional(request)
    return response
