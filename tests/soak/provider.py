"""All providers of the soak, in a process of their own: `python -m tests.soak.provider SEED`.

It prints four ports: that of the providers, that of its control, one whose connections hang, and
one where nobody listens. Each line on the control is answered by one of JSON: what is open now.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import unquote

import trio

from tests.chaos.service_under_test import raise_descriptor_limit
from tests.chaos.upstream import Script, Talk, Upstream
from tests.soak.deeds import deed
from tests.soak.setup import PRICED, PRICED_MODELS
from tests.soak.streams import Deed

__all__ = ["MARK", "Provider", "hanging", "unused"]

MARK = re.compile(r"soak (\d+):")
"""In each question: its number."""
REMEMBERED = 20_000
"""Answers whose requests are counted; they are asked for within seconds or never again."""


class Provider(Upstream):
    """Plays for each request what the seed says."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.by_provider: Counter[str] = Counter()
        """Requests for answers, by provider."""
        self._requests: OrderedDict[tuple[int, str, str], int] = OrderedDict()
        self._open: dict[int, tuple[int, str, float]] = {}
        """Requests that are being answered: question, model, since when."""
        self._number = 0

    def script_for(self, talk: Talk) -> Script:
        """A list of models, or an answer."""
        provider = talk.target.split("/")[1]
        if not talk.body:
            return _lists if provider == PRICED else _has_no_list
        model = unquote(talk.target.rpartition("/")[2].partition(":")[0])
        model = str(talk.body.get("model", model))
        found = MARK.search(json.dumps(talk.body))
        question = int(found.group(1)) if found else -1
        key = (question, provider, model)
        request = self._requests.get(key, 0)
        self._requests[key] = request + 1
        if len(self._requests) > REMEMBERED:
            self._requests.popitem(last=False)
        self.by_provider[provider] += 1
        done = deed(self.seed, question, provider, model, request)

        async def script(talk: Talk) -> None:
            with self._opened(question, f"{provider}:{model}"):
                await _play(done, talk)

        return script

    @contextmanager
    def _opened(self, question: int, model: str) -> Iterator[None]:
        self._number += 1
        number = self._number
        self._open[number] = (question, model, trio.current_time())
        try:
            yield
        finally:
            del self._open[number]

    def state(self) -> dict[str, Any]:
        """What is open now, and what was done so far."""
        now = trio.current_time()
        return {
            "connections": self.connections("new", "busy", "idle"),
            "idle": self.idle,
            "busy": self.connections("busy"),
            "accepted": self.accepted,
            "asked": self.by_provider,
            "open": [
                [question, model, now - since] for question, model, since in self._open.values()
            ],
        }


async def _play(done: Deed, talk: Talk) -> None:
    steps = iter(done.steps)
    ahead = next(steps, None)
    while (step := ahead) is not None:
        ahead = next(steps, None)
        if step[0]:
            await trio.sleep(step[0])
        # Before the last byte: the next request may be there as soon as that is.
        talk.whole = ahead is None and done.then == "keep"
        if step[1]:
            await talk.send(step[1])
    match done.then:
        case "close":
            await talk.close()
        case "reset":
            await talk.reset()
        case "stay":
            await trio.sleep_forever()


async def _lists(talk: Talk) -> None:
    """Models with their prices, as OpenRouter tells them."""
    prices = {"prompt": "0.000001", "completion": "0.0001"}
    body = {"data": [{"id": name, "name": name, "pricing": prices} for name in PRICED_MODELS]}
    await _answer(talk, "200 OK", json.dumps(body).encode())


async def _has_no_list(talk: Talk) -> None:
    await _answer(talk, "404 Not Found", b"{}")


async def _answer(talk: Talk, status: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    talk.whole = True
    await talk.send(f"{head}\r\n\r\n".encode() + body)


@contextmanager
def hanging() -> Iterator[int]:
    """A port whose backlog is full: the kernel drops the next SYN."""
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (one, two):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@contextmanager
def unused() -> Iterator[int]:
    """A port that is kept, and nobody listens at it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


async def main(seed: int) -> None:
    """Play until standard input ends."""
    raise_descriptor_limit()
    provider = Provider(seed)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
    [control] = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def serve_control(stream: trio.SocketStream) -> None:
        async with stream:
            async for _ in stream:  # one line, one answer: nobody sends the next one before
                await stream.send_all(json.dumps(provider.state()).encode() + b"\n")

    with ExitStack() as stack:
        ports = stack.enter_context(hanging()), stack.enter_context(unused())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provider.serve, listener)
            nursery.start_soon(trio.serve_listeners, serve_control, [control])
            print(listener.socket.getsockname()[1], control.socket.getsockname()[1], *ports)
            sys.stdout.flush()
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel("nobody asks any more")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
