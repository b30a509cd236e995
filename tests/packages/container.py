"""What an engine would do with the Dockerfile, done by hand in a plain environment.

The lines of the build stage run in a folder that stands for the image's `/`; the image's own paths
in them are written anew for it, and `python` and `pip` are a Python 3.13 where there is one. What
the final stage would start is then started the way a careful operator starts a container, as far as
the system lets us: by the image's number and with no capability, as process 1 of its own, the whole
file system read-only but an empty `/tmp`, and a network of its own, where port 8000 is free.

Where that is not allowed (it takes root) the same commands run as whoever runs the tests, on a port
that is free, with nothing of the environment but what the image says.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import trio

from tests.command import ROOT, environment, rest_of
from tests.packages.dockerfile import Dockerfile, Ignored, Stage

__all__ = ["CONTEXT", "Box", "Image", "build", "can_confine", "python_of_the_image", "running"]

CONTEXT = ROOT
IMAGE_PORT = 8000
OF_THE_IMAGE = re.compile(
    r"(?<![\w./:-])/"
    r"(?=(?:src|wheels|opt/compare-stream|etc/compare-stream|run/secrets|run/credentials)\b)"
)
"""Paths that are the image's, or mounted into it; the rest is the system's here as there."""


@cache
def python_of_the_image() -> str:
    """A Python 3.13, as in the image; this one where there is none."""
    versions = Path.home() / ".pyenv" / "versions"
    for python in ("python3.13", *sorted(map(str, versions.glob("3.13*/bin/python3.13")))):
        told = [python, "-c", "import sys; print(sys.executable)"]
        try:
            ran = subprocess.run(told, capture_output=True, text=True, check=False)
        except OSError:
            continue
        if ran.returncode == 0:
            return ran.stdout.strip()
    return sys.executable


@cache
def can_confine() -> bool:
    """Whether this system lets us have namespaces of our own, and another user."""
    tools = ("unshare", "nsenter", "setpriv", "ip", "mount")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Image:
    """What was built: the folder that stands for `/`, and the stage that says how it is started."""

    root: Path
    stage: Stage

    def __call__(self, text: str) -> str:
        """A path of the image, or a command with some, as it is here."""
        return OF_THE_IMAGE.sub(f"{self.root}/", text)

    @property
    def venv(self) -> Path:
        """All that the build left."""
        return Path(self("/opt/compare-stream"))


def build(root: Path, dockerfile: Dockerfile) -> Image:
    """Run the lines of the build stage; raises `CalledProcessError` with what they said."""
    image = Image(root, dockerfile.final)
    stage = dockerfile.build
    workdir = Path(image(stage.workdir))
    workdir.mkdir(parents=True)
    ignored = Ignored((CONTEXT / ".dockerignore").read_text())
    for copy in stage.copies:
        for source in copy.sources:
            for name in ignored.files(CONTEXT, source):
                inside = Path(name).relative_to(source) if (CONTEXT / source).is_dir() else name
                target = workdir / copy.target / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(CONTEXT / name, target)
    tools = root.parent / "tools"
    tools.mkdir()
    for name, arguments in (("python", ""), ("pip", " -m pip")):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec "{python_of_the_image()}"{arguments} "$@"\n')
        tool.chmod(0o755)
    env = environment(PATH=f"{tools}:/usr/bin:/bin", PIP_ROOT_USER_ACTION="ignore")
    for line in stage.runs:
        ran = subprocess.run(
            ["sh", "-c", image(line)],
            cwd=workdir,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
    shutil.rmtree(tools)
    for path in root.iterdir():  # the next stage has what it copies, and nothing else
        if path.name != "opt":
            shutil.rmtree(path)
    return image


UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net")
SET_UP = r"""
set -eu
umask 022
ip link set lo up
mount -t tmpfs tmpfs /mnt
number=0
for path in $KEPT; do
    number=$((number + 1)); mkdir "/mnt/$number"; mount --bind "$path" "/mnt/$number"
done
for path in $COVERED; do mount -t tmpfs -o mode=755 tmpfs "$path"; done
mount -t tmpfs -o mode=1777,size=16m tmpfs /tmp
mount -t tmpfs -o mode=1777,size=16m tmpfs /dev/shm
number=0
for path in $KEPT; do
    number=$((number + 1)); mkdir -p "$path"; mount --bind "/mnt/$number" "$path"
    mount -o remount,bind,ro "$path"
done
umount -R /mnt
for path in $COVERED; do mount -o remount,ro "$path"; done
mount -o remount,bind,ro /
cd /
exec "$@"
"""
"""A file system that can only be read: what is kept of what is covered, and the rest as it is."""


def _closed_above(path: Path) -> Path | None:
    """The topmost folder above `path` into which another user can't look."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


@dataclass(frozen=True, slots=True)
class Box:
    """A process in its container, or what comes closest."""

    image: Image
    process: trio.Process
    port: int
    confined: bool
    _user: tuple[str, ...]
    _environment: Mapping[str, str]

    @property
    def pid(self) -> int:
        """The service's own, seen from outside."""
        if not self.confined:
            return self.process.pid
        parent = self.process.pid
        (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return int(child)

    def status(self, name: str) -> str:
        """A line of /proc/<pid>/status."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:"))

    async def said(self, words: bytes) -> str:
        """Its standard output up to these words."""
        assert self.process.stdout is not None
        heard = b""
        while words not in heard:
            data = await self.process.stdout.receive_some()
            assert data, f"it ended after {heard!r}"
            heard += data
        return heard.decode()

    async def rest(self) -> str:
        """What it has said on both outputs, once it has ended."""
        outputs = (self.process.stdout, self.process.stderr)
        return "".join([await rest_of(output) for output in outputs])

    async def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """A command beside the process, by the same user, as `docker exec` runs it."""
        enter = ("nsenter", f"--target={self.pid}", "--mount", "--pid", "--net")
        return await trio.run_process(
            [*(enter if self.confined else ()), *self._user, *self._here(command)],
            env=dict(self._environment),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )

    def _here(self, command: Sequence[str]) -> list[str]:
        return [_on(self.port, self.image(word)) for word in command]

    def stop(self) -> None:
        """The signal that an engine sends."""
        assert self.image.stage.stop_signal is not None
        os.kill(self.pid, signal.Signals[self.image.stage.stop_signal])


def _on(port: int, text: str) -> str:
    return re.sub(rf"(?<=[:.\w\]]:){IMAGE_PORT}\b", str(port), text)


@asynccontextmanager
async def running(image: Image, command: Sequence[str], **environ: str) -> AsyncIterator[Box]:
    """Start `command` as the image's process; killed if it outlives the context."""
    confined = can_confine()
    port = IMAGE_PORT if confined else _free_port()
    user: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    outside = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    inside = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        **image.stage.environment,
        **{name: image(value) for name, value in environ.items()},
    }
    if confined:
        uid, _, gid = (image.stage.user or "0:0").partition(":")
        user = (
            *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        )
        base = Path(_base_prefix())
        covered = {folder for path in (base, image.root) if (folder := _closed_above(path))}
        covered = {folder for folder in covered if Path("/tmp") not in (folder, *folder.parents)}
        outside["KEPT"] = f"{image.root} {base}" if _closed_above(base) else str(image.root)
        outside["COVERED"] = " ".join(map(str, covered))
        prefix = (*UNSHARE, "sh", "-c", SET_UP, "sh", *user, "env", "-i")
        prefix = (*prefix, *(f"{name}={value}" for name, value in inside.items()))
    here = [_on(port, image(word)) for word in command]
    process = await trio.lowlevel.open_process(
        [*prefix, *here],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=outside if confined else inside,
    )
    try:
        yield Box(image, process, port, confined, user, inside)
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):  # it was killed: this does not wait for anybody
            await process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


@cache
def _base_prefix() -> str:
    told = [python_of_the_image(), "-c", "import sys; print(sys.base_prefix)"]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
