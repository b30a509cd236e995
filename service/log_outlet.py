"""Where the lines of a server's log leave: behind a bounded queue, by a thread of their own.

A pipe that nobody reads, or a disk that is full, must stop no stream: writing waits in the thread,
lines past the bound are dropped, and their number is told once lines can be written again.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from typing import TextIO

__all__ = ["Outlet"]

MOST_LINES = 10_000
"""Held while nothing can be written: some megabytes, and minutes of a busy service."""
IDLE_SECONDS = 1.0
"""After which the thread ends; the next line starts another."""
LAST_SECONDS = 0.2
"""For what is held when the process ends."""


class Outlet:
    """A file that can be written to without ever waiting."""

    def __init__(self, output: TextIO, most_lines: int = MOST_LINES) -> None:
        self._output = output
        self._most_lines = most_lines
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._running = False
        self.dropped = 0
        """Lines that could not be written, and have not been told of yet."""
        self.lost = 0
        """Lines that could not be written since the beginning."""
        atexit.register(self.drain)

    def write(self, text: str) -> None:
        """Hand a line over; dropped if too many wait."""
        with self._changed:
            if len(self._lines) >= self._most_lines:
                self.dropped += 1
                self.lost += 1
                return
            self._lines.append(text)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="log", daemon=True).start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Nothing to do: lines leave by themselves."""

    def isatty(self) -> bool:
        """Whether a person looks at them as they come."""
        return self._output.isatty()

    def drain(self, seconds: float = LAST_SECONDS) -> bool:
        """Wait until every line has left; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._lines, IDLE_SECONDS):
                    self._running = False
                    return
                text, told = self._lines[0], self.dropped
                if told:
                    text = _told(told) + text
            written = self._wrote(text)
            with self._changed:
                self._lines.popleft()
                self.dropped += -told if written else 1
                self.lost += not written
                self._changed.notify_all()

    def _wrote(self, text: str) -> bool:
        # Past the file's own buffer: its lock, held by a thread that waits, would end the
        # interpreter's exit with a crash.
        data = text.encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(self._output.fileno(), data) :]
        except (OSError, ValueError):  # a full disk, a reader that has gone; a closed file
            return False
        return True


def _told(dropped: int) -> str:
    return f'{{"event": "log lines lost", "level": "warning", "lines": {dropped}}}\n'
