"""The command line as a whole: one line for an error, exit codes, and `models`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from service.cli import main
from service.settings import Settings, load
from tests.command import closing, rest_of, run, running


def test_without_a_command_it_lists_the_commands_and_exits_with_2() -> None:
    result = run()
    assert result.exit_code == 2
    assert not result.stdout
    for command in ("serve", "ask", "verify", "models", "check", "settings", "key"):
        assert f"\n  {command} " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["--nothing"], "No such option"),
        (["ask"], "Missing argument 'PROMPT'"),
        (["ask", "why", "--max-tokens", "many"], "'many' is not a valid integer"),
        (["ask", "why", "--config", "/no/such/file"], "/no/such/file: cannot be read"),
        (["models", "--config", "/no/such/file"], "/no/such/file: cannot be read"),
        (["verify", "--config", "/no/such/file"], "/no/such/file: cannot be read"),
        (["settings", "--config", "/no/such/file"], "/no/such/file: cannot be read"),
        (["key"], "Missing argument 'NAME'"),
        (["key", "a b"], "'a b': expected a name of letters, digits, - and _"),
        (["verify", "--url", "http://host", "--key", "a b"], "--key: expected a key as"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert not result.stdout
    assert result.stderr.startswith("compare-stream: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@asynccontextmanager
async def broken_roster(_: Settings) -> AsyncIterator[None]:
    async with trio.open_nursery():
        raise RuntimeError("the cupboard\nis bare; sk-secret-secret")
    yield


LINE = "compare-stream: internal error: RuntimeError: the cupboard is bare; [hidden]\n"


def test_a_fault_of_ours_is_one_line_and_exit_code_70(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cli.models.open_roster", broken_roster)
    result = run("models")
    assert (result.exit_code, result.stdout, result.stderr) == (70, "", LINE)


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_traceback_of_such_a_fault_is_there_for_the_asking(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("service.cli.models.open_roster", broken_roster)
    result = run("--debug", "models") if how == "option" else run("models", COMPARE_DEBUG="1")
    assert result.exit_code == 70
    assert "Traceback (most recent call last)" in result.stderr
    assert "in broken_roster" in result.stderr
    assert result.stderr.endswith(LINE)


def test_ctrl_c_while_a_command_is_being_imported_ends_as_quietly_as_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(main), "get_command", interrupted)
    result = run("models")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "stopped\n")


def test_models_are_aligned_and_those_that_misbehave_come_last_under_a_heading() -> None:
    result = run("models")
    assert result.exit_code == 0
    good, bad = result.stdout.split(
        "\n\nThese misbehave on purpose; they are asked only by name:\n"
    )
    names = [[line.split()[0] for line in part.splitlines()] for part in (good, bad)]
    assert names[0][:3] == ["sim:swift", "sim:steady", "sim:thinker"]
    assert names[1] == ["sim:fails", "sim:stalls", "sim:floods", "sim:truncates", "sim:refuses"]
    assert {
        line.index("  Simulated  ") for line in result.stdout.splitlines() if "sim:" in line
    } == {len("sim:truncates")}


def test_models_as_json_are_what_the_service_lists(tmp_path: Path) -> None:
    config = tmp_path / "compare.toml"
    # An address where nobody is: nothing asks the network.
    config.write_text(
        'default_provider = "openrouter"\n'
        '[providers.openrouter]\ndialect = "openai"\nbase_url = "http://192.0.2.1/v1"\n'
    )
    result = run("models", "--json", "--config", str(config))
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    models = json.loads(result.stdout)["models"]
    assert models[0] == {
        "id": "anthropic/claude-sonnet-4",
        "name": "Claude Sonnet 4",
        "description": "Balanced.",
        "category": "Language",
        "provider": "Anthropic",
        "simulated": False,
        "well_behaved": True,
        "context_length": None,
        "max_output_tokens": None,
        "input_modalities": ["text", "image"],
        "supported_parameters": None,
        "price": {"input": 3.0, "output": 15.0, "request": 0.0},
        "source": "built-in",
    }
    assert [model["well_behaved"] for model in models] == sorted(
        (model["well_behaved"] for model in models), reverse=True
    )


def test_a_key_is_shown_once_with_the_lines_that_let_it_in(tmp_path: Path) -> None:
    results = [run("key", "laptop") for _ in range(2)]
    shown = []
    for result in results:
        assert (result.exit_code, result.stderr) == (0, "")
        key, *lines = [line[4:] for line in result.stdout.splitlines() if line.startswith("    ")]
        assert result.stdout.count(key) == 1
        config = tmp_path / "compare.toml"
        config.write_text("\n".join(lines))
        digests = load(config, {}).server.api_keys
        assert digests == {"laptop": f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"}
        shown.append(key)
    assert shown[0] != shown[1]


async def test_nobody_hears_about_a_reader_who_has_left_already() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with trio.fail_after(20), closing(writer):
        async with running("models", stdout=writer) as process:
            assert await rest_of(process.stderr) == ""
            assert await process.wait() == 128 + signal.SIGPIPE


async def test_an_output_that_takes_nothing_is_one_line_and_exit_code_2() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with trio.fail_after(20), closing(full):
        async with running("models", stdout=full) as process:
            words = await rest_of(process.stderr)
            assert await process.wait() == 2
    assert words == "compare-stream: cannot write: No space left on device.\n"


async def test_no_output_at_all_is_one_line_and_exit_code_2() -> None:
    closing = ("sh", "-c", 'exec "$@" >&-', "sh")
    with trio.fail_after(20):
        async with running("models", stdout=None, shell=closing) as process:
            words = await rest_of(process.stderr)
            assert await process.wait() == 2
    assert words == "compare-stream: cannot write: Bad file descriptor.\n"


async def test_the_package_runs_as_a_module() -> None:
    with trio.fail_after(20):
        async with running("--version", stderr=subprocess.DEVNULL) as process:
            assert (await rest_of(process.stdout)).startswith("compare-stream, version ")
            assert await process.wait() == 0


@pytest.mark.parametrize("width", [30, 41, 60, 80, 100, 160, 400])
def test_models_fit_the_terminal_and_no_id_is_cut(tmp_path: Path, width: int) -> None:
    config = tmp_path / "compare.toml"
    config.write_text(
        'default_provider = "openrouter"\n'
        '[providers.openrouter]\ndialect = "openai"\nbase_url = "http://192.0.2.1/v1"\n'
    )
    lines = run("models", "--config", str(config), COLUMNS=str(width)).stdout.splitlines()
    ids = json.loads(run("models", "--json", "--config", str(config)).stdout)["models"]
    shown = [line for line in lines if line and not line.startswith("These ")]
    assert [line.split()[0] for line in shown] == [model["id"] for model in ids]
    longest_id = max(len(model["id"]) for model in ids)
    assert max(map(len, shown)) <= max(width, longest_id)
    [mini] = [line for line in shown if line.startswith("openai/gpt-4o-mini ")] or [""]
    assert ("$0.15/$0.60" in mini) == (width >= 80)
    assert ("128k" in mini) == (width >= 60)
    assert ("Small and quick." in mini) == (width >= 100)
