"""Reading the settings again: all of them are put in force, or none and one line says why.

    read ──► open ──► put in force          one reading at a time
     in a      beside     in one step
     thread    the old

Nothing changes before everything that can fail has succeeded. What begins after the last step has
the new settings; what began before keeps its own (`service.generation`). The new keys are hidden in
the log before anybody could say them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
import trio

from service import log as service_log
from service.changes import changes
from service.generation import Generation
from service.redaction import presentable
from service.settings import Settings, SettingsError
from service.shared import Shared, Stopping

__all__ = ["Reloading", "Renewable"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

READ_SECONDS = 10.0
"""For some small files. They may be on a network's disk, which may hang, and then so does the
thread that reads: it is let go, and there is never a second one."""
OPEN_SECONDS = 10.0
"""For the clients of the providers, which connect to nobody, and the simulator."""


class Renewable(Protocol):
    """What is read with the settings, though it is not in their file; such as a certificate."""

    name: str

    def reread(self) -> Callable[[], None] | None:
        """Read it anew; what puts it in force, and None if it is as before.

        It may block. Raises `SettingsError`.
        """


class _Kept(Exception):
    """Everything stays as it was; the message says why."""


class _TooLate(Exception):
    """The process is stopping; what runs ends with what it has."""


class Reloading:
    """One process's way to other settings.

    `besides` are read with them, and put in force with them or not at all. `on_renewed` is called
    in the same step. `is_stopping` says whether it is too late for any of it.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        besides: Sequence[Renewable] = (),
        is_stopping: Callable[[], bool] = lambda: False,
        on_renewed: Callable[[Settings], None] = lambda _: None,
    ) -> None:
        self._shared = shared
        self._besides = besides
        self._is_stopping = is_stopping
        self._on_renewed = on_renewed
        self._reader = trio.CapacityLimiter(1)
        self._turn = trio.Lock()

    async def reload(self) -> bool:
        """Read the settings again; whether that succeeded, and a line in the log, say how it went.

        It waits for its turn, and for the start to be over. Raises nothing. Cancelled, it changes
        nothing.
        """
        async with self._turn:
            done = await self._renewed()
            self._shared.meter.readings["in_force" if done else "kept"] += 1
            return done

    async def _renewed(self) -> bool:
        try:
            await self._renew()
        except _Kept as exc:
            # Without a traceback: what is wrong is in the file, and the sentence says what.
            log.error("settings kept", reason=str(exc))  # noqa: TRY400
            return False
        except _TooLate:
            log.info("settings kept", reason="the process is stopping.")
            return False
        except Exception:
            # A fault of ours, which must not end what runs.
            log.exception("settings could not be put in force")
            return False
        return True

    async def _renew(self) -> None:
        self._refuse_in_a_drain()
        await self._shared.opened.wait()
        settings, besides = await self._read()
        changed = changes(self._shared.settings, settings)
        generation = await self._opened(settings) if changed else None
        try:
            self._refuse_in_a_drain()
        except _TooLate:
            if generation is not None:
                generation.retire()
            raise
        # From here to the end it is one step.
        if generation is not None:
            self._shared.put_in_force(generation)
            self._on_renewed(settings)
        for name, put_in_force in besides.items():
            put_in_force()
            changed.append(name)
        log.info(
            "settings read again",
            changed=", ".join(changed) or "nothing",
            on_older=sum(g.requests for g in self._shared.generations if g.is_retired),
        )

    async def _read(self) -> tuple[Settings, dict[str, Callable[[], None]]]:
        reread = self._shared.reread
        if reread is None:
            raise _Kept("this process was given its settings by a program, and can't read them.")

        def read() -> tuple[Settings, dict[str, Callable[[], None]]]:
            found = {renewable.name: renewable.reread() for renewable in self._besides}
            return reread(), {name: new for name, new in found.items() if new is not None}

        with trio.move_on_after(READ_SECONDS):
            try:
                return await trio.to_thread.run_sync(
                    read, abandon_on_cancel=True, limiter=self._reader
                )
            except SettingsError as exc:
                raise _Kept(str(exc)) from exc
            except Exception as exc:
                log.exception("settings could not be read")
                raise _Kept(_sentence("they could not be read", exc)) from exc
        raise _Kept(f"they could not be read within {READ_SECONDS:g} s.")

    async def _opened(self, settings: Settings) -> Generation:
        service_log.hide(key for g in self._shared.generations for key in g.settings.keys.values())
        service_log.hide(settings.keys.values())
        with trio.move_on_after(OPEN_SECONDS):
            try:
                return await self._shared.open_next(settings)
            except Stopping:
                raise _TooLate from None
            except Exception as exc:
                raise _Kept(_sentence("what they name could not be opened", exc)) from exc
        raise _Kept(f"the providers could not be opened within {OPEN_SECONDS:g} s.")

    def _refuse_in_a_drain(self) -> None:
        if self._shared.admission.draining or self._is_stopping():
            raise _TooLate


def _sentence(what: str, exc: BaseException) -> str:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return presentable(f"{what}: {type(exc).__name__}: {exc}").rstrip(".") + "."
