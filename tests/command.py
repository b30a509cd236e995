"""The command as tests run it: in this process, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog
import trio
from click.testing import CliRunner, Result

from service.cli import main

ROOT = Path(__file__).parents[1]
SETTING_NAMES = ("COMPARE_", "OTEL_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
KEY_NAMES = ("_API_KEY", "_API_KEY_FILE")


def environment(**more: str) -> dict[str, str]:
    """Ours without keys, settings and habits of whoever runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(SETTING_NAMES) and not name.endswith(KEY_NAMES)
    }
    return {**kept, **more}


def run(*arguments: str, stdin: bytes | None = None, **environ: str) -> Result:
    """A command in this process, its standard output no terminal; the log stays as it was."""
    clean = environment(**environ)
    hidden: dict[str, str | None] = dict.fromkeys(set(os.environ) - set(clean))
    log_configuration = structlog.get_config()
    try:
        return CliRunner().invoke(main, arguments, input=stdin, env=hidden | clean)
    finally:
        structlog.configure(**log_configuration)


@asynccontextmanager
async def running(
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    shell: Sequence[str] = (),
    module: str = "service",
    **environ: str,
) -> AsyncIterator[trio.Process]:
    """The command, or another module's, as a process; killed if it outlives the context."""
    process = await trio.lowlevel.open_process(
        [*shell, sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(**environ),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


@contextmanager
def closing(*files: int) -> Iterator[None]:
    """Close these file descriptors in the end."""
    try:
        yield
    finally:
        for file in files:
            os.close(file)


async def rest_of(stream: trio.abc.ReceiveStream | None) -> str:
    """What a process says until it closes that output."""
    assert stream is not None
    return b"".join([bytes(data) async for data in stream]).decode()


async def run_apart(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """The command as a process, to its end: exit code, output, errors."""
    variables: Any = environ  # running's own arguments are not among them
    async with running(*arguments, **variables) as process:
        said: dict[str, str] = {}

        async def listen(name: str, stream: trio.abc.ReceiveStream | None) -> None:
            said[name] = await rest_of(stream)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, "output", process.stdout)
            nursery.start_soon(listen, "errors", process.stderr)
        return await process.wait(), said["output"], said["errors"]


def simulator_config(folder: Path, *, speed: float, more: str = "") -> str:
    """A settings file in which the simulator is as fast as that."""
    path = folder / "compare.toml"
    path.write_text(f'{more}\n[providers.sim]\ndialect = "simulated"\nspeed = {speed}\n')
    return str(path)
