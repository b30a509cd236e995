"""The three ways to follow a comparison: its events, plain lines, and live columns."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from service.cli.columns import Board
from service.cli.lines import Lines
from service.cli.panels import draw, draw_whole
from service.cli.streams import Output
from service.events import Done, Event
from service.fanin import Inbox

__all__ = ["relay_events", "relay_lines", "watch"]

FRAME_SECONDS = 0.1
"""Between two drawings; a terminal that shows ten a second looks alive, and eyes follow no more."""
FAREWELL_SECONDS = 1.0
"""For the terminal to take back its cursor when we have been told to stop."""


async def relay_events(inbox: Inbox, output: Output) -> int:
    """One JSON event per line, as on the wire; how many models failed."""
    return await _relay(inbox, output, lambda event: msgspec.json.encode(event) + b"\n")


async def relay_lines(inbox: Inbox, output: Output) -> int:
    """Each model's lines as they become complete; how many models failed."""
    lines = Lines()
    return await _relay(
        inbox,
        output,
        lambda event: output.encode("".join(f"{line}\n" for line in lines.hear(event))),
    )


async def _relay(inbox: Inbox, output: Output, spell: Callable[[Event], bytes]) -> int:
    failed = 0
    async for event in inbox:
        events = [event, *_ready(inbox)]
        failed += sum(isinstance(event, Done) and event.error for event in events)
        if data := b"".join(map(spell, events)):
            await output.write(data)
    return failed


def _ready(inbox: Inbox) -> Iterator[Event]:
    """What waits already, so that it goes out in one write."""
    try:
        while True:
            yield inbox.receive_nowait()
    except (trio.WouldBlock, trio.EndOfChannel):
        return


async def watch(inbox: Inbox, output: Output, board: Board) -> int:
    """Live columns until the last model has ended, then all answers; how many models failed."""
    screen = _Screen(output)
    complete = trio.Event()

    async def listen() -> None:
        async for event in inbox:
            board.hear(event, trio.current_time())
        complete.set()

    try:
        with screen.live, screen.finishing(board):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, name="listen")
                while not complete.is_set():
                    await screen.show(board)
                    with trio.move_on_after(FRAME_SECONDS):
                        await complete.wait()
    finally:
        with trio.move_on_after(FAREWELL_SECONDS, shield=True):
            await screen.flush()
    return sum(column.state == "failed" for column in board.columns)


class _Screen:
    """Rich draws into memory, from where it is written: see `streams` for why."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._drawn = io.StringIO()
        self._console = Console(file=self._drawn, force_terminal=True)
        self.live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    async def show(self, board: Board) -> None:
        width, height = self._console.size
        picture = draw(board, trio.current_time(), width=width, height=height - 1)
        # The cursor waits on a line of its own: a ^C that is echoed there tears no frame.
        self.live.update(Group(picture, Text()), refresh=True)
        await self.flush()

    @contextmanager
    def finishing(self, board: Board) -> Iterator[None]:
        """Leave the last picture behind, also when stopped; it is drawn when `live` is left."""
        try:
            yield
        finally:
            board.stop()
            self.live.update(draw_whole(board, trio.current_time(), width=self._console.width))

    async def flush(self) -> None:
        drawn = self._drawn.getvalue()
        self._drawn.seek(0)
        self._drawn.truncate()
        await self._output.write(self._output.encode(drawn))
