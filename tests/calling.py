"""One call to a provider over real sockets: what to let it send, and what was heard of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from service.errors import ProviderError
from service.events import ErrorCode, Usage
from service.providers import Ending, Message, Prompt, no_step
from service.providers.call import HTTPProvider
from service.providers.openai import ChatCompletions, Flavour
from service.providers.rates import Rate
from service.testing import Wire, open_wire
from service.testing.wire import Step
from service.upstream import open_client

__all__ = [
    "DONE",
    "HEAD",
    "KEY",
    "LAST",
    "PROMPT",
    "STOP",
    "Heard",
    "all_closed",
    "ask",
    "ask_wire",
    "chunk",
    "chunked",
    "open_provider",
    "response",
]

KEY = "plain0secret1that2looks3like4nothing"
PROMPT = Prompt(model="acme/m", messages=(Message("user", "Why?"),), max_tokens=256)
PATIENCE = 5
"""Seconds for whatever a test waits for; never spent unless it fails."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
"""The end of a chunked body."""
DONE = b"data: [DONE]\n\n"
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def chunk(content: str) -> bytes:
    """One event of an answer; `content` needs no escaping."""
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % content.encode()


def chunked(*pieces: bytes) -> bytes:
    """Pieces of a body, each as one HTTP chunk."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def response(
    body: bytes = b"", *, status: str = "200 OK", media_type: str | None = None, **headers: str
) -> bytes:
    """A response of known length; `Retry_After="3"` is the header `Retry-After: 3`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    if media_type is not None:
        lines.append(f"Content-Type: {media_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class Heard:
    """A sink that writes down what it is told, and how the answer ended."""

    connected_times: int = 0
    first_bytes: int = 0
    rates: list[Rate] = field(default_factory=list)
    signs: int = 0
    told_so_far: tuple[Usage | None, float | None] = (None, None)
    """Of life; one for each read."""
    pieces: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    ending: Ending | None = None
    error: ProviderError | None = None

    @property
    def content(self) -> str:
        """The answer as far as it came."""
        return "".join(self.pieces)

    @property
    def code(self) -> ErrorCode | None:
        """The fault; None: the answer is whole."""
        return self.error.code if self.error else None

    @property
    def words(self) -> str:
        """What the fault says of itself."""
        return str(self.error)

    def connected(self) -> None:
        self.connected_times += 1

    def first_byte(self) -> None:
        self.first_bytes += 1

    def rate(self, rate: Rate) -> None:
        self.rates.append(rate)

    def refused(self) -> None:
        """Nothing to remember: what was refused is in the error."""

    def alive(self) -> None:
        self.signs += 1

    def reported(self, usage: Usage | None, cost_usd: float | None) -> None:
        self.told_so_far = usage, cost_usd

    def room(self) -> int:
        return 16 * 1024

    async def text(
        self,
        *contents: str,
        more: bool = False,
        step: Callable[[], bool] = no_step,
        came_at: float | None = None,
    ) -> None:
        self.pieces += contents
        await trio.lowlevel.checkpoint()

    def has_room(self) -> bool:
        return True

    def text_nowait(self, contents: tuple[str, ...]) -> None:
        self.pieces += contents

    async def reasoning(self, content: str, *, more: bool = False) -> None:
        self.thoughts.append(content)
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_provider(
    base_url: str,
    *,
    key: str | None = KEY,
    flavour: Flavour = "compatible",
    attribution: Mapping[str, str] | None = None,
    verify: ssl.SSLContext | None = None,
) -> AsyncIterator[HTTPProvider]:
    """A provider as the roster makes it."""
    dialect = ChatCompletions(base_url, api_key=key, flavour=flavour, attribution=attribution)
    async with open_client(verify=verify) as client:
        yield HTTPProvider("acme", dialect, client, secret=key)


async def ask(provider: HTTPProvider, prompt: Prompt = PROMPT) -> Heard:
    """What one call brings."""
    heard = Heard()
    try:
        with trio.fail_after(PATIENCE):
            heard.ending = await provider.stream(prompt, heard)
    except ProviderError as error:
        heard.error = error
    return heard


async def all_closed(wire: Wire) -> None:
    """Wait until the provider has no connection; fails when it keeps one."""
    with trio.fail_after(PATIENCE):
        await wire.all_closed()


async def ask_wire(*steps: Step, kept: bool = False) -> Heard:
    """What one call to a provider brings that sends these bytes.

    After it no connection is open, though the client still is: we have closed it. A connection
    that is `kept` for the next request is closed with the client.
    """
    async with open_wire(*steps) as wire:
        async with open_provider(wire.base_url) as provider:
            heard = await ask(provider)
            assert heard.connected_times == 1
            if kept:
                assert wire.open == 1
            else:
                await all_closed(wire)
        await all_closed(wire)
    return heard
