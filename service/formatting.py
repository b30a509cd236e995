"""Text to HTML on request: what may be asked, and the thread that does it."""

from __future__ import annotations

from typing import Annotated

import trio
from msgspec import Meta, Struct

from service.markup import to_html
from service.refusal import Refusal, decoded

__all__ = ["LONGEST_TEXT_BYTES", "Formatted", "Formatter", "TextBody", "parse_text"]

LONGEST_TEXT_BYTES = 256 * 1024
"""Of UTF-8. The longest answer that can be asked for, 65536 tokens, has about as many."""

THREADS = 1
"""At once, for a process. Python runs one at a time whatever their number, so more would only stand
in each other's way, and in the streams'."""


class TextBody(Struct, frozen=True):
    """The JSON body of a request to format; fields that are not named here are ignored."""

    text: Annotated[str, Meta(description="Markdown; at most 262144 bytes in UTF-8.")]


class Formatted(Struct, frozen=True):
    """A text, formatted."""

    html: str
    """Safe to put into a page: no script, no style, no image, nothing that loads by itself."""


def parse_text(body: bytes) -> str:
    """Read a request's body; raises `Refusal` (400, 413)."""
    text = decoded(body, TextBody).text
    if len(text) > LONGEST_TEXT_BYTES or len(text.encode()) > LONGEST_TEXT_BYTES:
        raise Refusal(
            413, "body_too_large", f"The text is longer than {LONGEST_TEXT_BYTES} bytes in UTF-8."
        )
    return text


class Formatter:
    """One process's threads for formatting; who finds them all at work waits in line."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(THREADS)

    async def html_of(self, text: str) -> str:
        """`text` as safe HTML.

        Cancelled in line, it is gone at once. Cancelled at work, it ends when the thread does,
        which `service.markup` bounds: a thread can't be stopped, and none goes on by itself.
        """
        return await trio.to_thread.run_sync(to_html, text, limiter=self._limiter)
