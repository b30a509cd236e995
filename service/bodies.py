"""A request's body, as it comes: in time, and no longer than it may be."""

from __future__ import annotations

import math
from typing import Any

import quart.wrappers
import trio
from quart import request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from service.refusal import Refusal

__all__ = ["json_body"]

_CLIENT_GONE: Any = getattr(quart.wrappers, "ClientDisconnectedError", ())
"""Quart 0.23 says so in the middle of a body; before it there is only the cancellation."""


async def json_body(limit: int) -> bytes:
    """The body of a request that says it is JSON, at most `limit` bytes.

    Raises the exceptions of 408 and 413, and `Refusal` (415). It is read before anything is
    refused: a connection with half a request in it is of no more use.
    """
    body = await _body(limit)
    if request.mimetype != "application/json":
        raise Refusal(415, "not_json", "The request needs Content-Type: application/json.")
    return body


async def _body(limit: int) -> bytes:
    """Taken as it comes: Quart 0.23 looks at the size of one without a length when all is there."""
    body = bytearray()
    with trio.move_on_after(request.body_timeout or math.inf):
        try:
            async for piece in request.body:
                body += piece
                if len(body) > limit:
                    raise RequestEntityTooLarge
        except _CLIENT_GONE:
            await trio.sleep_forever()  # whoever noticed is cancelling the request
        return bytes(body)
    raise RequestTimeout
