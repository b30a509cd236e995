"""The clients of docs/clients.md, run: against a service that is well, cut, full, or not for them.

The one for a browser is run in tests/browser/test_client_in_browser.py.
"""

from __future__ import annotations

import ast
import codecs
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from service.application import create_app
from service.eventstream import Decoder
from service.settings import Limits, ProviderSettings, Settings
from service.testing import Close, Pause, open_server, open_wire
from tests.calling import chunk
from tests.command import ROOT, environment
from tests.markdown import Block, blocks
from tests.relay import open_relay
from tests.tools import require_tool

PAGE = ROOT / "docs" / "clients.md"
BLOCKS = list(blocks(PAGE))
CLIENTS = [block for block in BLOCKS if block.language != "html"]
NAMES = ["curl", "Node", "httpx", "plain Python", "ten lines"]
TEN_LINES = CLIENTS[-1]
ADDRESS = "127.0.0.1:8000"
MODELS = ["sim:terse", "sim:poet"]
QUESTION = {"input_data": "Why is the sky blue?", "models": MODELS}
PATIENCE = 30
CUT, REFUSED = 1, 1
"""Exit codes; which of the two it was, they say."""


def simulated(speed: float, **more: Any) -> Settings:
    return Settings(providers={"sim": ProviderSettings(dialect="simulated", speed=speed)}, **more)


@pytest.fixture(params=CLIENTS, ids=NAMES)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """One client of the page; skipped where what runs it is missing."""
    block: Block = request.param
    match block.language:
        case "sh":
            require_tool("curl")
            return Client(block, ["sh", "-eu"], tmp_path)
        case "js":
            return Client(block, [require_tool("node")], tmp_path)
        case _:
            return Client(block, [sys.executable], tmp_path)


@dataclass(frozen=True, slots=True)
class Client:
    """An example that can be run, and what its output says."""

    block: Block
    program: Sequence[str]
    directory: Path

    @property
    def shows_events(self) -> bool:
        """curl shows what the stream says; the others show the words in it."""
        return self.block.language == "sh"

    @asynccontextmanager
    async def running(self, url: str) -> AsyncIterator[Running]:
        """Run it against the service at `url`, in a process group of its own."""
        script = self.directory / ("client.mjs" if self.block.language == "js" else "client")
        address = url.removeprefix("http://")
        script.write_text(self.block.text.replace(ADDRESS, address), encoding="utf-8")
        process = await trio.lowlevel.open_process(
            [*self.program, str(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment(PYTHONUTF8="1"),
        )
        running = Running(process)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.listen, "stdout")
                nursery.start_soon(running.listen, "stderr")
                with trio.fail_after(PATIENCE):
                    yield running
                    await process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()

    async def run(self, url: str) -> Running:
        """Run it to its end."""
        async with self.running(url) as running:
            pass
        return running

    def answers(self, output: str) -> dict[str, str]:
        """What it showed of each model's answer, put together."""
        found: dict[str, str] = {}
        for model, text in _events(output) if self.shows_events else _shown(output):
            found[model] = found.get(model, "") + text
        return found

    def ends(self, output: str) -> dict[str, str]:
        """How it says that each model ended."""
        if self.shows_events:
            *whole, _ = output.split("\n\n")
            told = [json.loads(block[6:]) for block in whole if block.startswith("data: ")]
            return {e["model"]: e["code"] or "whole" for e in told if e["type"] == "done"}
        return dict(re.findall(r"\n\((\S+): (\w+)\)", output))

    def says_complete(self, output: str) -> bool:
        """Whether it says that the comparison is whole."""
        return ('{"type":"complete"' if self.shows_events else "(complete after ") in output


class Running:
    """A client at work."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._said = {"stdout": b"", "stderr": b""}
        self._more = trio.Event()

    @property
    def output(self) -> str:
        return self._said["stdout"].decode()

    @property
    def errors(self) -> str:
        return self._said["stderr"].decode()

    async def listen(self, name: str) -> None:
        stream = getattr(self.process, name)
        async with stream:
            async for data in stream:
                self._said[name] += data
                self._more.set()
                self._more = trio.Event()

    async def shows(self, is_there: Callable[[bytes], bool]) -> None:
        """Wait until the output so far is such."""
        while not is_there(self._said["stdout"]):
            await self._more.wait()

    async def leave(self) -> None:
        """Ctrl-C, as a terminal sends it."""
        os.killpg(self.process.pid, signal.SIGINT)


def _events(output: str) -> Iterator[tuple[str, str]]:
    *blocks, _ = output.split("\n\n")
    for block in blocks:
        event = json.loads(block[6:]) if block.startswith("data: ") else {}
        if event.get("type") == "chunk" and not event.get("error"):
            yield event["model"], event["content"]


def _shown(output: str) -> Iterator[tuple[str, str]]:
    """The texts behind `[model] `, up to the next mark of the client's own."""
    mark = r"\n(?:\[(\S+)\] |\(\S+: \w+\)|\(complete after \d+ ms\)\n)"
    found = [*re.finditer(mark, output)]
    ends = [*(match.start() for match in found[1:]), len(output)]
    for match, end in zip(found, ends, strict=True):
        if match[1] is not None:
            yield match[1], output[match.end() : end]


def has_words(output: bytes) -> bool:
    return b'"type":"chunk"' in output or b"[sim:" in output


# --- what each of them does ---


async def test_it_shows_every_answer_whole_and_says_that_all_is_complete(client: Client) -> None:
    async with open_server(create_app(simulated(50))) as url:
        async with httpx.AsyncClient(timeout=PATIENCE) as asking:
            reply = await asking.post(f"{url}/compare", json=QUESTION)
        ended = await client.run(url)
    assert (ended.process.returncode, ended.errors) == (0, "")
    assert client.answers(ended.output) == reply.json()["results"]
    assert client.ends(ended.output) == dict.fromkeys(MODELS, "whole")
    assert client.says_complete(ended.output)


ANSWER = "a\n\ndata: é\u2028 \N{GRINNING FACE}"
PARTS = (
    'data: {"model":"m","type":"start","provider":"p","parameters":{}}',
    ": ping",
    f'data: {{"model":"m","type":"chunk","content":{json.dumps(ANSWER, ensure_ascii=False)}}}',
    "id: 7",
    'data: {"model":"m","type":"unheard-of"}',
    'data: {"model":"m","type":"chunk","content":"Error: Rate limited","error":true}',
    'data: {"model":"m","type":"done","error":true,"code":"rate_limited"}',
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"


def in_reads(parts: Sequence[str], *cut_after: bytes) -> Iterator[bytes | Pause]:
    """A stream, cut where readers get it wrong."""
    stream = "".join(f"{part}\n\n" for part in parts).encode()
    cuts = sorted([0, *(stream.index(mark) + len(mark) for mark in cut_after), len(stream)])
    for begin, end in pairwise(cuts):
        yield from (stream[begin:end], Pause(0.01))


async def test_it_reads_a_stream_in_reads_of_any_kind_and_takes_no_end_for_complete(
    client: Client,
) -> None:
    # In the middle of a prefix, of a comment, of each character, and between two line ends.
    after = (b"da", b": pi", b"\xc3", b"\xe2\x80", b"\xf0\x9f", b'done"', b'ited"}\n')
    half = b'data: {"type":"complete","metadata":{"processing_time_ms"'
    async with open_wire(HEAD, *in_reads(PARTS, *after), half, Close()) as wire:
        ended = await client.run(wire.base_url.removesuffix("/v1"))
    assert ended.process.returncode == CUT
    assert "cut: " in ended.errors
    assert client.answers(ended.output) == {"m": ANSWER}
    assert client.ends(ended.output) == {"m": "rate_limited"}
    assert client.shows_events or not client.says_complete(ended.output)


async def test_words_are_shown_as_they_come_and_a_connection_that_breaks_is_no_success(
    client: Client,
) -> None:
    async with (
        open_server(create_app(simulated(1))) as url,
        open_relay(url) as relay,
        client.running(relay.url) as running,
    ):
        await running.shows(has_words)  # long before the end: an answer takes seconds
        relay.cut.set()
    assert running.process.returncode == CUT
    assert "cut: " in running.errors
    assert client.answers(running.output)
    assert not client.says_complete(running.output)


async def test_who_is_refused_for_now_hears_for_how_long_and_may_ask_again(client: Client) -> None:
    settings = simulated(50, limits=Limits(max_comparisons=1))
    app, refused = create_app(settings), trio.Event()

    @app.after_request
    async def look(response: Any) -> Any:
        if response.status_code == 503:
            refused.set()
        return response

    async with open_server(app) as url, httpx.AsyncClient() as other:
        stalls = {"input_data": "Why?", "models": ["sim:stalls"]}
        async with other.stream("POST", f"{url}/compare-stream", json=stalls):
            if client.block is TEN_LINES:
                ended = await client.run(url)
                assert ended.process.returncode == REFUSED
                assert "refused, ask again in 1 s: " in ended.errors
                assert '"code":"busy"' in ended.errors
                return
            async with client.running(url) as running:
                await refused.wait()
                await other.aclose()
    assert running.process.returncode == 0
    assert client.ends(running.output) == dict.fromkeys(MODELS, "whole")


async def test_who_is_refused_hears_why_and_does_not_ask_again(client: Client) -> None:
    app, asked = create_app(simulated(50, limits=Limits(max_models=1))), []

    @app.before_request
    async def count() -> None:
        asked.append(1)

    async with open_server(app) as url:
        ended = await client.run(url)
    assert ended.process.returncode == REFUSED
    assert "refused" in ended.errors
    assert "too_many_models" in ended.output + ended.errors or "models" in ended.errors
    assert len(asked) == 1


async def test_who_leaves_stops_the_models(client: Client) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    async with open_wire(head, chunk("never the end")) as wire:
        provider = ProviderSettings(dialect="openai", base_url=wire.base_url)
        settings = Settings(providers={"sim": provider})
        async with open_server(create_app(settings)) as url, client.running(url) as running:
            await running.shows(has_words)
            assert wire.open == len(MODELS)
            await running.leave()
            await wire.all_closed()
    assert running.process.returncode != 0
    assert not client.says_complete(running.output)


# --- the reader in ten lines ---

WIRE = (
    b"\xef\xbb\xbf: a comment\n\n"
    b'data: {"a":\r\ndata: "\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80"}\r\r\n'
    b"data:1\n\rid: 2\n\ndata: 2\r\rdatax: 3\n\nevent: e\n"
    b'data: {"type":\rdata:"complete"}\n\n'
)


def ten_lines() -> tuple[ast.FunctionDef, Callable[[Iterable[bytes]], Iterator[Any]]]:
    """The reader alone, and as a function."""
    [definition] = [
        node
        for node in ast.parse(TEN_LINES.text).body
        if isinstance(node, ast.FunctionDef) and node.name == "events"
    ]
    names: dict[str, Any] = {"codecs": codecs, "json": json, "re": re}
    exec(ast.unparse(definition), names)
    return definition, names["events"]


def test_it_has_ten_lines() -> None:
    definition, _ = ten_lines()
    assert definition.end_lineno is not None
    assert definition.end_lineno - definition.lineno + 1 == 10


def test_it_reads_what_the_standard_says_whatever_way_the_bytes_are_cut_in_three() -> None:
    _, events = ten_lines()
    expected = [json.loads(event.data) for event in Decoder().feed(WIRE)]
    assert expected == [{"a": "é\u2028\N{GRINNING FACE}"}, 1, 2, {"type": "complete"}]
    for i, j in itertools.combinations(range(len(WIRE) + 1), 2):
        assert list(events([WIRE[:i], WIRE[i:j], WIRE[j:]])) == expected, (i, j)
    assert list(events(bytes([byte]) for byte in WIRE)) == expected


def test_it_hands_on_an_event_with_its_blank_line_whether_or_not_an_lf_may_follow() -> None:
    _, events = ten_lines()
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\r"):
        reader = events(itertools.chain([b"data: 1" + end], [b""]))
        assert next(reader) == 1


@pytest.mark.parametrize("left", [b"", b'data: {"type":"complete"}\n', b'data: {"type":"comp'])
def test_it_raises_where_the_stream_ends_without_complete(left: bytes) -> None:
    _, events = ten_lines()
    reader = events([b'data: {"type":"start"}\n\n', left])
    assert next(reader) == {"type": "start"}
    with pytest.raises(EOFError):
        next(reader)


# --- the page ---


def test_every_client_of_the_page_is_run() -> None:
    assert len(CLIENTS) == len(NAMES)
    assert [block.language for block in BLOCKS] == [
        "sh",
        "html",
        "js",
        "python",
        "python",
        "python",
    ]
    assert not [block for block in BLOCKS if block.not_run is not None]
