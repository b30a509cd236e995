"""A proxy as a process of its own, on free ports, with all that it writes in one folder.

It runs as nobody where the tests run as root: what an example needs of the system it shall not get
by chance. That user can't enter pytest's folders, so this is one of its own, gone in the end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
import trustme

from tests.chaos.waiting import until
from tests.proxies.examples import NAME, Change, Example, Place, changed

__all__ = ["Proxy", "open_proxy"]

NOBODY = 65534
LOGS = ("log", "access.log")
START_SECONDS = 10
"""Each is there in a tenth of that on a machine that does little else."""
STOP_SECONDS = 5
ATTEMPTS = 3
"""A port that was free may be somebody else's when the program asks for it."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy."""

    example: Example
    place: Place
    process: trio.Process
    path: str
    log: Path

    @property
    def program(self) -> str:
        """Which of them it is."""
        return self.example.program

    def logged(self) -> str:
        """All that it has written down."""
        logs = [path for path in self.place.folder.glob("*") if path.name in LOGS]
        return "".join(path.read_text(errors="replace") for path in logs)

    async def reload(self, *changes: Change) -> None:
        """Change its file, and tell it to read it again; it does so when it likes."""
        example = self.example.with_changes(*changes)
        (self.place.folder / example.file).write_text(changed(example, self.place))
        if isinstance(example.reload, signal.Signals):
            self.process.send_signal(example.reload)
        else:
            folder = self.place.folder
            again = await _open_process([self.path, *example.reload], folder, self.log)
            assert await again.wait() == 0


def _free_port() -> int:
    """A port that nobody has, over TCP and over UDP: Caddy speaks HTTP/3 beside HTTP/2."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            with suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port


@asynccontextmanager
async def open_proxy(
    example: Example, path: str, authority: trustme.CA, service: str
) -> AsyncIterator[Proxy]:
    """The program at `path` with this example in front of a service; stopped in the end.

    What it wrote to its log is added to whatever error leaves the context.
    """
    with tempfile.TemporaryDirectory(prefix="proxy-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        pem = authority.issue_cert(NAME).private_key_and_cert_chain_pem
        pem.write_to_path(folder / "compare.pem")
        log = folder / "log"
        log.touch()
        try:
            async with _started(example, path, service, folder, log) as proxy:
                yield proxy
        except BaseException as exc:
            exc.add_note(f"{example.program} said: {log.read_text(errors='replace')[-3000:]}")
            raise


@asynccontextmanager
async def _started(
    example: Example, path: str, service: str, folder: Path, log: Path
) -> AsyncIterator[Proxy]:
    for attempt in range(1, ATTEMPTS + 1):
        place = Place(folder=folder, https=_free_port(), http=_free_port(), service=service)
        file = folder / example.file
        file.write_text(changed(example, place))
        process = await _open_process([path, *example.command(place, file)], folder, log)
        try:
            if await _accepts(process, place.https):
                yield Proxy(example, place, process, path, log)
                return
            if attempt == ATTEMPTS:
                raise AssertionError(f"{example.program} did not start")
        finally:
            await _stop(process, example.stop)  # noqa: ASYNC102  # it shields itself, and has a deadline


async def _open_process(command: list[str], folder: Path, log: Path) -> trio.Process:
    as_nobody: dict[str, Any] = {}
    if os.geteuid() == 0:
        for entry in (folder, *map(folder.joinpath, os.listdir(folder))):
            os.chown(entry, NOBODY, NOBODY)
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    with log.open("ab") as output:
        return await trio.lowlevel.open_process(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A group of its own: nginx's workers would outlive a master that is killed.
            start_new_session=True,
            env={"PATH": os.defpath, "HOME": str(folder), "XDG_DATA_HOME": str(folder)},
            **as_nobody,
        )


async def _accepts(process: trio.Process, port: int) -> bool:
    """Wait until it accepts connections; False if it ends instead, or never does."""
    with trio.move_on_after(START_SECONDS):
        while True:
            with suppress(OSError):
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.aclose()
                return True
            if process.poll() is not None:
                return False
            await trio.sleep(0.01)
    return False


async def _stop(process: trio.Process, by: signal.Signals) -> None:
    """End it and whatever it started, whose streams are not waited for; returns when all are gone.

    HAProxy's master does not wait for its children.
    """
    process.send_signal(by)
    with trio.CancelScope(shield=True):
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.fail_after(STOP_SECONDS):
            await process.wait()
        await until(lambda: not _lives(process.pid), within=STOP_SECONDS, what="all of it gone")


def _lives(group: int) -> bool:
    """Whether one of these processes still runs; one that is dead and not reaped holds nothing."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                return True
    return False
