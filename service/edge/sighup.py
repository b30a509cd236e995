"""SIGHUP: read the settings again. And the one case in which it means what it used to.

A process without a handler dies of it, so it is heeded from as early as the process can: what comes
before anybody listens is remembered. Of the disposition of a signal there is one per process, and
so there is of this.

A terminal that is closed says SIGHUP, too, and who started a server in it expects that to be the
server's end. By then the process has no controlling terminal any more, by which the two can be told
apart. Under `nohup` SIGHUP is ignored when the process begins, and no hang-up is its end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["HANGUP", "Hangups", "hangups"]

HANGUP: tuple[signal.Signals, ...] = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
"""Empty where the system has none."""


class Hangups:
    """What this process makes of SIGHUP.

    `terminal` can be opened while a terminal controls the process.
    """

    def __init__(self, terminal: str = "/dev/tty") -> None:
        self._terminal = terminal
        self._came = False
        self._ends_with_its_terminal = False

    def heed(self) -> None:
        """Remember those that come from now on; to be called once, when the process begins.

        Nothing happens outside of the main thread, where no signal can be handled.
        """
        for number in HANGUP:
            with suppress(ValueError):
                before = signal.signal(number, self._note)
                self._ends_with_its_terminal = (
                    before is not signal.SIG_IGN and self._has_a_terminal()
                )

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """The same while the context lasts."""
        before = [(number, signal.getsignal(number)) for number in HANGUP]
        self.heed()
        try:
            yield
        finally:
            for number, handler in before:
                with suppress(ValueError):
                    signal.signal(number, handler)

    def came_early(self) -> bool:
        """Whether one has come while nobody listened; asked once, by whoever listens now."""
        came, self._came = self._came, False
        return came

    def is_the_end(self) -> bool:
        """Whether the one that has just come is that of a terminal that has been closed."""
        return self._ends_with_its_terminal and not self._has_a_terminal()

    def _has_a_terminal(self) -> bool:
        try:
            os.close(os.open(self._terminal, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True


hangups = Hangups()
"""Those of this process."""
