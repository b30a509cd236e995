"""What the runbook says of starts that fail, and of a log, tried."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import httpx
import pytest
import trio

from service.surface import make_key
from tests.clients import asking
from tests.command import ROOT, run, run_apart, running
from tests.markdown import blocks, section, tables

PAGE = ROOT / "docs" / "operations" / "runbook.md"
[STARTS] = tables(section(PAGE, "## The service does not start"))
"""Exit code, line, what to do."""


def rows_for(code: int, line: str) -> list[list[str]]:
    """The rows that fit a start that failed."""
    assert line.startswith("compare-stream: ")
    assert line.count("\n") == 1
    found = []
    for row in STARTS:
        words = re.split(r"\.\.\.|<[^>]+>", row[1].strip("`"))
        if row[0] == str(code) and re.match(".*".join(map(re.escape, words)), line[16:]):
            found.append(row)
    return found


KEYLESS = """
[providers.p]
dialect = "gemini"
base_url = "http://p"
api_key_env = "A_KEY"
"""


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[limits]\nmax_modelz = 1", "<key>"),
        (None, "cannot be read"),
        (KEYLESS, "the variable <name> is not set"),
    ],
)
def test_settings_that_do_not_start_have_their_row(
    tmp_path: Path, text: str | None, word: str
) -> None:
    path = tmp_path / "compare.toml"
    if text is not None:
        path.write_text(text)
    result = run("serve", "--config", str(path))
    assert [row for row in rows_for(result.exit_code, result.stderr) if word in row[1]]


async def test_an_address_that_can_not_be_had_has_its_row() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, trio.fail_after(60):
        starts = {
            "already in use": ("--bind", f"127.0.0.1:{taken.getsockname()[1]}"),
            "Cannot assign": ("--bind", "192.0.2.1:8000"),  # nobody has it: RFC 5737
            "expected a certificate": ("--bind", "127.0.0.1:0", "--certfile", __file__),
            "Name or service not known": ("--bind", "127.0.0.1:port"),
            "expected HOST:PORT": ("--bind", "127.0.0.1:99999"),
        }

        async def start(word: str, arguments: tuple[str, ...]) -> None:
            code, _, line = await run_apart("serve", *arguments)
            assert [row for row in rows_for(code, line) if word in row[1]], (code, line)

        async with trio.open_nursery() as nursery:
            for word, arguments in starts.items():
                nursery.start_soon(start, word, arguments)


def test_a_fault_of_ours_has_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr("service.cli.serve._open_as_many_files_as_allowed", lambda: None)
    monkeypatch.setattr("service.cli.serve.create_app", broken)
    result = run("serve", "--bind", "127.0.0.1:0")
    [row] = rows_for(result.exit_code, result.stderr)
    assert row[1] == "`internal error: ...`"


SEARCHES = [block.text for block in blocks(PAGE) if block.text.startswith("grep")]


async def test_its_searches_find_in_a_log_what_they_are_for(tmp_path: Path) -> None:
    key, digest = make_key()
    config, log = tmp_path / "compare.toml", tmp_path / "log.jsonl"
    config.write_text(f'[server.api_keys]\nlaptop = "{digest}"\n[retries]\nattempts = 1\n')
    with log.open("wb") as output, trio.fail_after(30):
        arguments = ("serve", "--bind", "127.0.0.1:0", "--config", str(config))
        async with running(*arguments, stderr=output.fileno()) as process:
            assert process.stdout is not None
            url = (await process.stdout.receive_some()).decode().split()[3]
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                question = asking("sim:refuses", "sim:terse")
                asked = await client.post("/compare-stream", json=question)
                await client.post("/compare-stream", json=question)
                left = asking("sim:stalls")
                async with client.stream("POST", "/compare-stream", json=left) as answer:
                    assert answer.status_code == 200
            process.terminate()
            await process.wait()
    id_ = asked.headers["X-Comparison-Id"]
    said = [await output_of(search.replace("THE-ID", id_), tmp_path) for search in SEARCHES]
    failures, leaving, callers, lines = said
    assert failures.split() == ["2", '"code":', '"rate_limited"']
    assert re.fullmatch(r' +1 "wall_ms": \d+\n', leaving)
    assert callers.split()[1:] == ['"key_name":', '"laptop"']
    events = [json.loads(line)["event"] for line in lines.splitlines()]
    assert events == ["comparison began", "model ended", "model ended", "comparison ended"]


async def output_of(script: str, folder: Path) -> str:
    ended = await trio.run_process(["sh", "-eu", "-c", script], capture_stdout=True, cwd=folder)
    return ended.stdout.decode()
