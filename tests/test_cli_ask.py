"""`compare-stream ask`: what it prints, how it exits, and that nothing runs on without it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import termios
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from service.providers.roster import Roster
from service.settings import Settings
from service.testing import Script, Thought, Wire, open_wire, roster_of
from tests.command import closing, rest_of, run, running, simulator_config

# httpx leaves generators of its own to the garbage collector when a provider fails in mid-answer.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def piece(text: str) -> bytes:
    """A piece of an answer as an OpenAI-compatible provider sends it."""
    data = json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode()
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def wire_config(folder: Path, wire: Wire) -> str:
    path = folder / "compare.toml"
    path.write_text(f'[providers.wire]\ndialect = "openai"\nbase_url = "{wire.base_url}"\n')
    return str(path)


@pytest.fixture
def fast(tmp_path: Path) -> str:
    return simulator_config(tmp_path, speed=50)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put scripts in the place of all providers."""

    def put(*scripts: Script) -> None:
        def open_roster(settings: Settings) -> AbstractAsyncContextManager[Roster]:
            return roster_of(settings, *scripts)

        monkeypatch.setattr("service.cli.ask.open_roster", open_roster)

    return put


def events_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_json_is_the_stream_line_by_line_and_nothing_else(fast: str) -> None:
    result = run("ask", "why?", "-m", "sim:swift", "-m", "sim:terse", "--json", "--config", fast)
    assert (result.exit_code, result.stderr) == (0, "")
    events = events_of(result.stdout)
    assert events[:2] == [
        {
            "model": model,
            "type": "start",
            "provider": "sim",
            "parameters": {"max_tokens": 4000},
            "simulated": True,
        }
        for model in ("sim:swift", "sim:terse")
    ]
    assert sorted(e["model"] for e in events if e["type"] == "done") == ["sim:swift", "sim:terse"]
    assert [e["type"] for e in events].index("complete") == len(events) - 1
    assert {e["type"] for e in events[2:-1]} == {"chunk", "done"}
    assert events[-1]["metadata"]["models_successful"] == 2


def test_piped_each_models_lines_add_up_to_its_answer(fast: str) -> None:
    asked = ("ask", "why?", "-m", "sim:thinker", "-m", "sim:steady", "--config", fast)
    answers: defaultdict[str, str] = defaultdict(str)
    for event in events_of(run(*asked, "--json").stdout):
        if event["type"] == "chunk":
            answers[event["model"]] += event["content"]
    result = run(*asked)
    assert (result.exit_code, result.stderr) == (0, "")
    *lines, last = result.stdout.splitlines()
    for model, answer in answers.items():
        own = [line.removeprefix(f"[{model}] ") for line in lines if line.startswith(f"[{model}] ")]
        said = [line for line in own if not line.startswith("(thinking) ")]
        assert said[:-1] == answer.split("\n")
        assert said[-1].startswith("done: stop, ")
        assert any(line.startswith("(thinking) ") for line in own) == (model == "sim:thinker")
    assert last.startswith("2 models in ")
    assert last.endswith("x faster)")


def test_without_models_the_first_three_well_behaved_ones_are_asked(fast: str) -> None:
    result = run("ask", "why?", "--json", "--config", fast)
    starts = [e["model"] for e in events_of(result.stdout) if e["type"] == "start"]
    assert starts == ["sim:swift", "sim:steady", "sim:thinker"]


def test_the_same_model_twice_answers_twice(fast: str) -> None:
    result = run("ask", "why?", "-m", "sim:terse", "-m", "sim:terse", "--config", fast)
    assert result.exit_code == 0
    assert "[sim:terse] done: " in result.stdout
    assert "[sim:terse#2] done: " in result.stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failing_model_makes_exit_code_1_and_the_others_finish(fast: str, as_json: bool) -> None:
    more = ("--json",) if as_json else ()
    models = ("-m", "sim:refuses", "-m", "sim:terse", "-m", "sim:fails")
    result = run("ask", "why?", *models, "--config", fast, *more)
    assert (result.exit_code, result.stderr) == (1, "")
    if as_json:
        dones = {e["model"]: e["code"] for e in events_of(result.stdout) if e["type"] == "done"}
        assert dones == {
            "sim:refuses": "rate_limited",
            "sim:terse": None,
            "sim:fails": "overloaded",
        }
    else:
        assert "[sim:refuses] failed: Rate limited\n" in result.stdout
        assert "[sim:fails] failed: The simulated provider of sim:fails has" in result.stdout
        assert "[sim:terse] done: stop, " in result.stdout
        assert result.stdout.splitlines()[-1].startswith("3 models (2 failed) in ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["  "], "input_data must not be blank."),
        (["x" * 5001], "input_data has 5001 characters; the tier 'standard' takes 5000."),
        (["why?", "--tier", "huge"], "tier: expected brief, standard or extended."),
        (["why?", "--max-tokens", "255"], "max_tokens: expected int >= 256."),
        (["why?", "--temperature", "2.5"], "temperature: expected float <= 2.0."),
        (["why?", "--top-p", "-1"], "top_p: expected float >= 0.0."),
        (["why?", *["-m", "sim:swift"] * 10], "models names 10 models; the limit is 9."),
        (["why?", "-m", "sim:nobody"], "The simulator has no model 'sim:nobody'"),
        (["why?", "-m", "\x1b[2J"], "models must hold model ids: printable text of 1 to 200"),
        (["\udcff"], "The prompt must be UTF-8."),
    ],
)
def test_what_the_service_would_refuse_is_one_line_and_exit_code_2(
    arguments: list[str], sentence: str
) -> None:
    result = run("ask", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"compare-stream: {sentence}")
    assert result.stderr.count("\n") == 1


def test_what_is_chosen_reaches_the_provider(scripted: Callable[..., None]) -> None:
    script = Script("s", (0, "yes"))
    scripted(script)
    chosen = ("--max-tokens", "300", "--temperature", "0.5", "--top-p", "0")
    assert run("ask", "why?", "-m", "s:m", *chosen).exit_code == 0
    [prompt] = script.prompts
    assert (prompt.model, prompt.max_tokens, prompt.temperature, prompt.top_p) == ("m", 300, 0.5, 0)
    assert run("ask", "why?", "-m", "s:m", "--tier", "brief").exit_code == 0
    assert script.prompts[1].max_tokens == 2000


def test_a_prompt_of_one_dash_is_read_from_standard_input(scripted: Callable[..., None]) -> None:
    script = Script("s", (0, "yes"))
    scripted(script)
    result = run("ask", "-", "-m", "m", stdin="Où ?\nEt comment ?\n".encode())
    assert result.exit_code == 0
    assert script.prompts[0].messages[-1].content == "Où ?\nEt comment ?"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"\xff\xfe", "The prompt must be UTF-8."),
        (b"\n", "input_data must not be blank."),
        (b"x" * (1024 * 1024 + 1), "The prompt is longer than 1048576 bytes."),
    ],
)
def test_standard_input_that_is_no_prompt_is_refused(given: bytes, sentence: str) -> None:
    result = run("ask", "-", stdin=given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"compare-stream: {sentence}\n"


def test_no_escape_sequence_of_a_model_is_printed(scripted: Callable[..., None]) -> None:
    evil = "\x1b]0;title\x07\x1b[2Jred\r\x9b31m\u2028\u202e[bold]:smile:[/bold]\n"
    scripted(Script("s", (0, Thought(evil)), (0, evil), (0, RuntimeError("unused"))))
    result = run("ask", "why?", "-m", "m")
    shown = "\ufffd]0;title\ufffd\ufffd[2Jred\ufffd31m\ufffd[bold]:smile:[/bold]"
    assert result.stdout.splitlines()[:3] == [
        f"[m] (thinking) {shown}",
        f"[m] {shown}",
        "[m] failed: The service failed on this model; its log has the reason. Try again.",
    ]
    assert "RuntimeError: unused" in result.stderr  # in the log, where the sentence sends people


# --- leaving ---


@asynccontextmanager
async def two_answers_under_way(
    tmp_path: Path, *arguments: str
) -> AsyncIterator[tuple[trio.Process, Wire]]:
    """A process that has heard from two models, which would go on for ever."""
    async with open_wire(HEAD, piece("a line\n")) as wire:
        asked = ("ask", "why?", "-m", "wire:a", "-m", "wire:b")
        config = wire_config(tmp_path, wire)
        async with running(*asked, "--config", config, *arguments) as process:
            assert process.stdout is not None
            heard = b""
            while heard.count(b"a line") < 2:
                heard += await process.stdout.receive_some()
            assert wire.open == 2
            yield process, wire


@pytest.mark.parametrize(
    ("sent", "arguments"), [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGINT, ("--json",))]
)
async def test_a_signal_stops_every_request_and_says_so_in_one_line(
    tmp_path: Path, sent: signal.Signals, arguments: Sequence[str]
) -> None:
    with trio.fail_after(20):
        async with two_answers_under_way(tmp_path, *arguments) as (process, wire):
            process.send_signal(sent)
            assert await rest_of(process.stderr) == "stopped\n"
            assert await process.wait() == 128 + sent
            await wire.all_closed()
            assert (wire.opened, wire.closed) == (2, 2)


async def test_a_reader_who_leaves_stops_every_request_and_nobody_complains(
    tmp_path: Path,
) -> None:
    # As `| head -2` does it; the next line that is written finds that nobody is there.
    with trio.fail_after(20):
        slow = [HEAD, piece("a line\n"), *[piece("more\n")] * 20_000]
        async with open_wire(*slow) as wire:
            asked = ("ask", "why?", "-m", "wire:a", "-m", "wire:b")
            async with running(*asked, "--config", wire_config(tmp_path, wire)) as process:
                assert process.stdout is not None
                assert await process.stdout.receive_some()
                await process.stdout.aclose()
                assert await rest_of(process.stderr) == ""
                assert await process.wait() == 128 + signal.SIGPIPE
                await wire.all_closed()


async def test_a_signal_is_heard_while_nobody_reads(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    endless = [HEAD, *[piece("word " * 1000)] * 100]
    with trio.fail_after(20), closing(reader, writer):
        async with open_wire(*endless) as wire:
            asked = ("ask", "why?", "-m", "wire:a", "--json")
            config = wire_config(tmp_path, wire)
            async with running(*asked, "--config", config, stdout=writer) as process:
                await trio.to_thread.run_sync(wait_until_full, writer)
                process.send_signal(signal.SIGINT)
                assert await rest_of(process.stderr) == "stopped\n"
                assert await process.wait() == 128 + signal.SIGINT
                await wire.all_closed()


def wait_until_full(pipe: int) -> None:
    """Return when the pipe takes nothing more."""
    while select.select((), (pipe,), (), 0)[1]:
        os.sched_yield()


def wait_until_empty(pipe: int) -> None:
    """Return when all that was written has been read."""
    while fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4):
        os.sched_yield()


async def test_the_shells_head_ends_it_quietly(fast: str) -> None:
    command = 'set -o pipefail; "$@" | head -1'
    with trio.fail_after(20):
        shell = ("bash", "-c", command, "bash")
        asked = ("ask", "why?", "-m", "sim:rambler", "--json", "--config", fast)
        async with running(*asked, shell=shell) as process:
            assert (await rest_of(process.stdout)).count("\n") == 1
            assert await rest_of(process.stderr) == ""
            assert await process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_the_prompt_is_being_typed_asks_nobody(sent: signal.Signals) -> None:
    with trio.fail_after(20):
        async with running("ask", "-", stdin=subprocess.PIPE) as process:
            pipe = process.stdin
            assert isinstance(pipe, trio.lowlevel.FdStream)
            await pipe.send_all(b"x" * 200_000)  # more than it holds, so that it is being read
            await trio.to_thread.run_sync(wait_until_empty, pipe.fileno())
            process.send_signal(sent)
            assert await rest_of(process.stderr) == "stopped\n"
            assert await process.wait() == 128 + sent
