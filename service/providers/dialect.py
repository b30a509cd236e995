"""What a dialect is: pure, a request from a prompt and an answer from bytes.

`call.py` does the I/O between the two, the same for every dialect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.errors import ProviderError
from service.events import Usage
from service.providers import Ending, Prompt

__all__ = [
    "EVENT_STREAM",
    "MALFORMED_LIMIT",
    "Delta",
    "Dialect",
    "Reading",
    "Request",
    "json_headers",
]

EVENT_STREAM = "text/event-stream"
MALFORMED_LIMIT = 16
"""Chunks without sense in one answer; one or two happen, more is another protocol."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a dialect wants sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def json_headers(media_type: str) -> dict[str, str]:
    """The headers of a request in JSON whose answer is a stream of this type."""
    return {
        "Content-Type": "application/json",
        "Accept": media_type,
        # Compression would only make chunks wait for each other.
        "Accept-Encoding": "identity",
    }


@dataclass(frozen=True, slots=True)
class Delta:
    """What an answer grew by: pieces of its text, and a piece of reasoning, which came first."""

    texts: tuple[str, ...] = ()
    reasoning: str = ""


class Reading(Protocol):
    """One answer being read; pure: bytes in, pieces of text out."""

    @property
    def marked_done(self) -> bool:
        """The provider's terminal marker has come; nothing after it counts."""

    @property
    def finished(self) -> bool:
        """Nothing of the answer is missing any more, marker or not."""

    @property
    def finish_reason(self) -> str | None:
        """Why it has ended, in the provider's own word; None: it has not said."""

    @property
    def usage(self) -> Usage | None:
        """What has been reported of its tokens so far."""

    @property
    def cost_usd(self) -> float | None:
        """What has been reported of its price so far."""

    def plain(self, data: bytes) -> tuple[str, ...] | None:
        """The pieces of text in these bytes, if they hold nothing else; None: ask `feed`."""

    def feed(self, data: bytes) -> Iterable[Delta]:
        """The pieces in these bytes; lazy, and to be exhausted. Raises `ProviderError`."""

    def flush(self) -> Iterable[Delta]:
        """The pieces in what stood without its end when the body ended."""

    def whole(self, body: bytes) -> Iterable[Delta]:
        """The pieces of an answer that came as one JSON object. Raises `ProviderError`."""

    def ending(self) -> Ending:
        """How it ended; raises `ProviderError` when it was not whole."""


class Dialect(Protocol):
    """A provider's wire format."""

    @property
    def media_type(self) -> str:
        """What a response calls itself whose body is a stream of this dialect."""

    def parameters(self, prompt: Prompt) -> Mapping[str, Any]:
        """What `request` would send for this prompt besides model and messages."""

    def request(self, prompt: Prompt) -> Request:
        """The HTTP request of a prompt.

        Raises `ProviderError` (`bad_request`) for what the provider is known not to take, where
        nothing but another question would help: it need not be asked.
        """

    def reading(self) -> Reading:
        """A fresh reading, for one answer."""

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What a status other than 200 means."""
