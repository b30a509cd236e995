"""The processes that listen at one address: whoever is asked for figures tells all of theirs.

Each keeps its figures in a file, in a folder that all know by the address. Whoever is asked rings
at the others' sockets, upon which they write theirs anew, and adds up what is there. So a count
never goes back, whichever process is asked. Nor is one lost with a process that ends: the next that
comes adds its counts to those of all that have gone. When nobody was left in between, counting
begins anew.

    <temporary folder>/compare-stream-<user>/<address>/
        <process>.figures    what it has counted
        <process>.alive      locked for as long as it lives
        <process>.bell       where it can be asked to count again
        gone.figures         the counts of those that have ended
        lock                 held while one of them is added to those, and while all are read
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import trio

from service.metrics.family import Family, merged

__all__ = ["Siblings", "folder_of"]

ANSWER_SECONDS = 0.5
"""For a sibling to write its figures; one that takes longer is counted as it was last."""
WRITTEN_EVERY = 5.0
"""Seconds between two writings without being asked: what is lost when a process is killed."""
MOST_RINGS = 16
"""That wait to be heard; whoever finds no place reads what is there."""
DEAF_SECONDS = 0.1
"""Until the bell is heeded again when it could not be; as long as Trio's own listeners wait."""
GONE = "gone"
OURS_ALONE = 0o700

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Family]).decode


def folder_of(address: str) -> Path:
    """Where the processes that listen at this address meet; made if it is not there.

    Raises `OSError` where there can be none, or where others may write to it.
    """
    base = Path(tempfile.gettempdir()) / f"compare-stream-{os.getuid()}"
    base.mkdir(OURS_ALONE, exist_ok=True)
    found = base.lstat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & ~OURS_ALONE:
        raise PermissionError(f"{base} is open to others")
    with suppress(OSError):
        # Containers may share the folder and use the same address, each in a network of its own.
        address = f"{address}-{Path('/proc/self/ns/net').stat().st_ino}"
    folder = base / "".join(c if c.isalnum() or c in ".-" else "_" for c in address)
    folder.mkdir(OURS_ALONE, exist_ok=True)
    return folder


class Siblings:
    """The processes that meet in `folder`, of which this is one; `collect` gives its figures.

    A context: who leaves it leaves its counts behind. Entering raises `OSError` when the folder
    can't be used.
    """

    def __init__(self, folder: Path, collect: Callable[[], list[Family]]) -> None:
        self._folder = folder
        self._collect = collect
        self._name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self._writing = trio.Lock()
        self._held = ExitStack()
        self._bell: socket.socket

    def __enter__(self) -> Siblings:
        # Nothing is served yet, and others hold the lock for a moment only.
        with self._locked(fcntl.LOCK_EX), ExitStack() as held:
            # Whoever tidies up temporary folders passes over a locked one (tmpfiles.d(5), "Age").
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_SH)
            self._bury_the_dead()
            alive = held.enter_context(self._path(self._name, "alive").open("wb"))
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._store(self._name, self._collect())
            self._bell = held.enter_context(socket.socket(socket.AF_UNIX))
            self._bell.bind(str(self._path(self._name, "bell")))
            self._bell.listen(MOST_RINGS)
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._held, suppress(OSError), self._locked(fcntl.LOCK_EX):
            self._store(self._name, self._collect())
            self._path(self._name, "bell").unlink(missing_ok=True)
            self._held.close()
            if not any(map(self._is_alive, self._names())):
                self._bury_the_dead()

    async def heed(self) -> None:
        """Write the figures whenever somebody rings, and now and then; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._heed_the_bell, name="bell")
            while True:
                await trio.sleep(WRITTEN_EVERY)
                with suppress(OSError):  # whoever asks is told
                    await self._write()

    async def figures(self) -> list[Family]:
        """What all of them have counted. Raises `OSError` when the folder can't be used."""
        await self._write()
        async with trio.open_nursery() as nursery:
            for name in self._names():
                if name != self._name:
                    nursery.start_soon(_ring, self._path(name, "bell"))
        return await trio.to_thread.run_sync(self._read)

    # --- what takes waiting ---

    async def _heed_the_bell(self) -> None:
        bell = trio.socket.from_stdlib_socket(self._bell)
        while True:
            try:
                rings, _ = await bell.accept()
            except OSError:  # no descriptor is left, or whoever rang has gone
                await trio.sleep(DEAF_SECONDS)
                continue
            with rings, suppress(OSError):
                await self._write()

    async def _write(self) -> None:
        async with self._writing:  # or one that counted earlier could write later
            await trio.to_thread.run_sync(self._store, self._name, self._collect())

    # --- what a thread can do ---

    def _bury_the_dead(self) -> None:
        names = self._names()
        dead = [name for name in names if not self._is_alive(name)]
        if len(dead) < len(names):
            self._store(GONE, merged(map(_counts, map(self._load, [GONE, *dead]))))
        else:
            self._path(GONE).unlink(missing_ok=True)
        for name in dead:
            for ending in ("figures", "bell", "alive"):
                self._path(name, ending).unlink(missing_ok=True)

    def _read(self) -> list[Family]:
        with self._locked(fcntl.LOCK_SH):
            found = []
            for name in self._names():
                families = self._load(name)
                found.append(families if self._is_alive(name) else _counts(families))
            return merged([*found, self._load(GONE)])

    def _names(self) -> list[str]:
        return [path.stem for path in self._folder.glob("*.figures") if path.stem != GONE]

    def _is_alive(self, name: str) -> bool:
        try:
            with self._path(name, "alive").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def _path(self, name: str, ending: str = "figures") -> Path:
        return self._folder / f"{name}.{ending}"

    def _store(self, name: str, families: list[Family]) -> None:
        path = self._path(name)
        fresh = path.with_suffix(".fresh")
        fresh.write_bytes(_encode(families))
        fresh.replace(path)

    def _load(self, name: str) -> list[Family]:
        try:
            return _decode(self._path(name).read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            return []  # nobody has gone yet; or another version of us wrote it

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with (self._folder / "lock").open("ab") as file:
            fcntl.flock(file, how)
            yield


def _counts(families: list[Family]) -> list[Family]:
    """Without what was so at that moment only."""
    return [family for family in families if family.kind != "gauge"]


async def _ring(bell: Path) -> None:
    with suppress(OSError), trio.move_on_after(ANSWER_SECONDS):
        async with await trio.open_unix_socket(str(bell)) as rings:
            await rings.receive_some(1)  # it closes when it has written
