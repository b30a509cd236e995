"""SIGHUP to the real process: it reads its file and its keys again, and it never ends it.

But for one: that of the terminal it was started in, when this is closed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from service.edge import sighup
from service.edge.sighup import Hangups
from service.testing import Wire, open_wire
from tests.clients import connect, http1_request, read_until
from tests.command import running
from tests.edge.test_drain import children_of, has_epoll, is_there, until_ready
from tests.test_serve import url_of

Line = dict[str, Any]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
WORD = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@contextmanager
def closing(file: int) -> Iterator[int]:
    """A file descriptor, closed in the end."""
    try:
        yield file
    finally:
        os.close(file)


class Log:
    """What a process has written to its standard error."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.text = b""

    async def until(self, mark: str, times: int = 1) -> str:
        """The last line that has this in it, once there are so many."""
        assert self.process.stderr is not None
        with trio.fail_after(15):
            await trio.lowlevel.checkpoint()
            while len(found := self._having(mark)) < times:
                data = await self.process.stderr.receive_some()
                assert data, f"it ended after {self.text!r}"
                self.text += data
        return found[-1]

    async def reload(self, mark: str = "settings read again") -> Line:
        """Send SIGHUP, and wait for the line that says what came of it."""
        known = len(self._having(mark))
        self.process.send_signal(signal.SIGHUP)
        line: Line = json.loads(await self.until(mark, known + 1))
        return line

    def _having(self, mark: str) -> list[str]:
        whole = self.text[: self.text.rfind(b"\n") + 1]
        return [line for line in whole.decode().splitlines() if mark in line]


@asynccontextmanager
async def serving(*arguments: str, **more: Any) -> AsyncIterator[tuple[str, Log]]:
    with trio.fail_after(30):
        bind = ("serve", "--bind", "127.0.0.1:0")
        async with running(*bind, *arguments, **more) as process:
            yield await url_of(process), Log(process)


def config_for(wire: Wire, more: str = "") -> str:
    return (
        f'default_provider = "acme"\n[catalogue]\nrefresh = 0\n[providers.acme]\n'
        f'dialect = "openai"\nbase_url = "{wire.base_url}"\napi_key_env = "ACME_API_KEY"\n{more}'
    )


def written(path: Path, text: str) -> None:
    """A file in one step: whoever reads it meanwhile has the one before."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


async def ask(url: str, *models: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        asked = {"input_data": "q", "models": list(models or ("m",))}
        return await http.post(f"{url}/compare-stream", json=asked)


async def test_it_reads_its_file_and_its_key_files_and_keeps_what_it_has_at_a_mistake(
    tmp_path: Path,
) -> None:
    key, file = tmp_path / "key", tmp_path / "compare.toml"
    written(key, "the-first-key\n")
    answers = [[HEAD, WORD], [HEAD, WORD, END]]
    async with open_wire(answers=answers) as wire:
        written(file, config_for(wire))
        async with (
            serving("--config", str(file), ACME_API_KEY_FILE=str(key)) as (url, log),
            await connect(url) as client,
        ):
            await client.send_all(http1_request("m"))
            await read_until(client, b'"chunk"')
            written(key, "the-second-key\n")
            line = await log.reload()
            assert (line["changed"], line["on_older"]) == ("keys.acme", 1)
            assert b'"models_successful":1' in (await ask(url)).content
            keys = [dict(request.headers)[b"authorization"] for request, _ in wire.requests]
            assert keys == [b"Bearer the-first-key", b"Bearer the-second-key"]

            for mistake, said in (
                ("[limits]\nmax_modelz = 3\n", f"{file}: limits.max_modelz: unknown key"),
                ("[limits\n", f"{file}: is not valid TOML"),
                (
                    '[providers.p]\ndialect = "openai"\n',
                    f"{file}: providers.p.base_url: is missing",
                ),
            ):
                written(file, mistake)
                assert (await log.reload("settings kept"))["reason"].startswith(said)
                assert (await ask(url, "m", "n")).status_code == 200
            written(file, config_for(wire, "[limits]\nmax_models = 1\n"))
            key.unlink()
            reason = (await log.reload("settings kept"))["reason"]
            assert reason == f"{file}: ACME_API_KEY_FILE: the file {key} cannot be read."
            written(key, "the-third-key\n")
            assert (await log.reload())["changed"] == "limits.max_models, keys.acme"
            assert (await ask(url, "m", "n")).status_code == 400
            assert not re.search(rb"the-\w+-key", log.text)


async def test_a_stream_is_whole_over_many_of_them_and_the_process_ends_in_order(
    tmp_path: Path,
) -> None:
    file = tmp_path / "compare.toml"
    sim = '[providers.sim]\ndialect = "simulated"\nspeed = 5\n'
    written(file, sim)
    async with (
        serving("--config", str(file)) as (url, log),
        await connect(url) as client,
    ):
        await client.send_all(http1_request("sim:terse", "sim:swift"))
        body = await read_until(client, b'"chunk"')
        for number in range(30, 1, -1):
            written(file, f"[limits]\nmax_models = {number - 1}\n{sim}")
            log.process.send_signal(signal.SIGHUP)
        await log.until('"limits.max_models"')
        while (await ask(url, "sim:terse", "sim:swift")).status_code == 200:
            pass  # until the last of them was heeded
        body += await read_until(client, b'"complete"')
        assert b'"models_successful":2' in body

        async with await connect(url) as endless:
            await endless.send_all(http1_request("sim:stalls"))
            await read_until(endless, b'"chunk"')
            log.process.send_signal(signal.SIGTERM)
            await log.until("draining")
            assert (await log.reload("settings kept"))["reason"] == "the process is stopping."
        assert await log.process.wait() == 0


async def test_one_that_comes_before_it_is_ready_is_not_lost(tmp_path: Path) -> None:
    fifo = tmp_path / "compare.toml"
    os.mkfifo(fifo)
    bind = ("serve", "--bind", "127.0.0.1:0", "--config", str(fifo))
    with trio.fail_after(30):
        async with running(*bind) as process:
            # By the time that it opens its file it heeds the signal.
            with closing(await trio.to_thread.run_sync(os.open, fifo, os.O_WRONLY)) as file:
                process.send_signal(signal.SIGHUP)
                os.write(file, b"[limits]\nmax_models = 2\n")
            await url_of(process)
            with closing(await trio.to_thread.run_sync(os.open, fifo, os.O_WRONLY)) as file:
                os.write(file, b"[limits]\nmax_models = 3\n")
            line = json.loads(await Log(process).until("settings read again"))
            assert line["changed"] == "limits.max_models"


# --- terminals ----------------------------------------------------------------------------------

# A process with a terminal of its own; of whoever has one, the system tells its end.
IN_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


async def test_a_terminal_that_is_closed_ends_it_and_one_that_is_there_does_not() -> None:
    ours, theirs = os.openpty()
    with closing(theirs):
        async with serving(stdin=theirs, shell=(sys.executable, "-c", IN_A_TERMINAL)) as (_, log):
            with closing(ours):
                await log.reload()
            assert await log.process.wait() == 0


@pytest.mark.parametrize(("disposition", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_under_nohup_a_terminal_that_is_closed_is_not_the_end(
    disposition: signal.Handlers, ends: bool, tmp_path: Path
) -> None:
    terminal = tmp_path / "tty"
    terminal.touch()
    before = signal.signal(signal.SIGHUP, disposition)
    try:
        heard = Hangups(str(terminal))
        with heard.heeded():
            signal.raise_signal(signal.SIGHUP)
            assert heard.came_early()
            assert not heard.came_early()
            assert not heard.is_the_end()
            terminal.unlink()
            assert heard.is_the_end() == ends
        assert signal.getsignal(signal.SIGHUP) == disposition
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_where_no_signal_can_be_handled_nothing_is(tmp_path: Path) -> None:
    heard = Hangups()
    await trio.to_thread.run_sync(heard.heed)
    assert not heard.is_the_end()


def test_a_system_without_the_signal_has_nothing_to_heed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    spec = importlib.util.spec_from_file_location("elsewhere", sighup.__file__)
    assert spec is not None
    assert spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    assert elsewhere.HANGUP == ()
    with elsewhere.hangups.heeded():
        assert not elsewhere.hangups.came_early()
        assert not elsewhere.hangups.is_the_end()


# --- Hypercorn's own command --------------------------------------------------------------------


@asynccontextmanager
async def workers(count: int, config: str) -> AsyncIterator[tuple[str, Log]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ("-w", str(count), "-c", "hypercorn.toml", "-b", address, "service.app:app")
    with trio.fail_after(40):
        async with running(*arguments, module="hypercorn", COMPARE_CONFIG=config) as process:
            url = f"http://{address}"
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
                await until_ready(http)
            yield url, Log(process)
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def listening(parent: int, count: int) -> list[int]:
    """The worker processes, once so many serve."""
    while True:
        found = [pid for pid in children_of(parent) if has_epoll(pid)]
        if len(found) == count:
            return found
        await trio.sleep(0.05)


async def test_a_worker_of_hypercorns_reads_them_when_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "compare.toml"
    written(file, config := '[providers.sim]\ndialect = "simulated"\nspeed = 5\n')
    async with workers(1, str(file)) as (url, log), await connect(url) as client:
        [pid] = await listening(log.process.pid, 1)
        await client.send_all(http1_request("sim:terse", "sim:swift"))
        body = await read_until(client, b'"chunk"')
        written(file, f"[limits]\nmax_models = 1\n{config}")
        os.kill(pid, signal.SIGHUP)
        await log.until("settings read again")
        assert (await ask(url, "sim:terse", "sim:swift")).status_code == 400
        body += await read_until(client, b'"complete"')
        assert b'"models_successful":2' in body
        assert is_there(pid)
