"""Live columns drawn: state in, something that rich can print out. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.cli.columns import Board, Column, State
from service.cli.words import size_of, summary

__all__ = ["draw", "draw_whole"]

ABREAST = 3
NARROWEST = 26
"""Cells in which `12.3 s   1234 chunks` stands on one line, with its frame."""
LOWEST, HIGHEST = 5, 20
"""Lines of a panel: its frame, the figures, the bar, and at least one of text; and no more than
somebody can take in at a glance."""
LONGEST_LINE = 4000
"""Characters; a longer paragraph is not wrapped from its beginning every time."""

STYLES: Mapping[State, str] = {
    "waiting": "dim",
    "thinking": "magenta",
    "writing": "cyan",
    "done": "green",
    "failed": "red",
    "stopped": "yellow",
}


def draw(board: Board, now: float, *, width: int, height: int) -> RenderableType:
    """The board as it is at `now`, on a terminal of that size: the latest words of each model."""
    columns = board.columns
    abreast = _abreast(len(columns), width)
    rows = -(-len(columns) // abreast)
    lines = min((height - 1) // rows, HIGHEST)
    if lines < LOWEST:
        return _list(columns, now)
    room = width // abreast
    return _grid([_panel(c, board, now, width=room, height=lines) for c in columns], abreast)


def draw_whole(board: Board, now: float, *, width: int) -> RenderableType:
    """The board with the whole answers, however long they are, and what it came to."""
    columns = board.columns
    abreast = _abreast(len(columns), width)
    panels = [_panel(c, board, now, width=width // abreast) for c in columns]
    last = Text(summary(board.metadata), style="bold") if board.metadata is not None else Text()
    return Group(_grid(panels, abreast), last)


def _abreast(count: int, width: int) -> int:
    """How many stand in a row; as few rows as fit, and those filled evenly."""
    most = max(1, min(ABREAST, width // NARROWEST))
    rows = -(-count // most)
    return -(-count // rows)


def _grid(panels: Sequence[RenderableType], abreast: int) -> Table:
    grid = Table.grid(expand=True)
    for _ in range(abreast):
        grid.add_column(ratio=1)
    for first in range(0, len(panels), abreast):
        grid.add_row(*panels[first : first + abreast])
    return grid


def _panel(
    column: Column, board: Board, now: float, *, width: int, height: int | None = None
) -> Panel:
    """One model; without a height, as high as its whole answer."""
    words = Text(f"failed: {column.failure}" if column.failure else "", style="red")
    head: list[RenderableType] = [_figures(column, now), _bar(column, board.max_tokens)]
    if height is None:
        parts = [*head, Text(column.answer), *([Text(), words] if words else [])]
    else:
        parts = [*head, _latest(column, height - 4, words)]
    first = column.first_token()
    return Panel(
        Group(*parts),
        title=_title(column, width),
        title_align="left",
        subtitle=None if first is None else Text(f"first token {first:.2f} s", style="dim"),
        subtitle_align="right",
        border_style=STYLES[column.state],
        height=height,
    )


def _title(column: Column, width: int) -> Text:
    # Its own models say so by their names.
    played = column.simulated and not column.name.startswith("sim:")
    name = Text(f"{column.name} (simulated)" if played else column.name, style="bold")
    name.truncate(max(4, width - len(column.state) - 7), overflow="ellipsis")
    return Text.assemble(name, " ", (column.state, STYLES[column.state]))


def _figures(column: Column, now: float) -> Table:
    figures = Table.grid(expand=True)
    figures.add_column(no_wrap=True)
    figures.add_column(justify="right", no_wrap=True)
    figures.add_row(f"{column.elapsed(now):.1f} s", _size(column))
    return figures


def _size(column: Column) -> str:
    usage = column.usage
    return f"{column.chunks} chunks" if usage is None else size_of(usage)


def _bar(column: Column, max_tokens: int) -> Table:
    """How much of what it may write a model has written; answers seldom need all of it."""
    row = Table.grid(expand=True, padding=(0, 0, 0, 1))
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    style = STYLES[column.state]
    bar = ProgressBar(
        total=max_tokens, completed=column.size, complete_style=style, finished_style=style
    )
    row.add_row(bar, Text(f"{column.size / max_tokens:.0%} of max", style="dim"))
    return row


def _latest(column: Column, lines: int, words: Text) -> RenderableType:
    thinking = column.state == "thinking"
    text = column.thoughts if thinking else column.answer
    tail = _Tail(text, lines - bool(words), style="dim italic" if thinking else "")
    words.truncate(1000)
    words.no_wrap, words.overflow = True, "ellipsis"
    return Group(tail, words) if words else tail


@dataclass(frozen=True, slots=True)
class _Tail:
    """The last lines of a text, wrapped to whatever room there is."""

    text: str
    lines: int
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.lines > 0:
            recent = _recent(self.text, options.max_width * self.lines)
            yield from Text(recent, self.style).wrap(console, options.max_width)[-self.lines :]


def _recent(text: str, room: int) -> str:
    """Enough of the end of `text` to fill the room.

    It begins where a line does. In a very long one it begins at a place that moves seldom: lines
    that were wrapped anew with every chunk would be unreadable.
    """
    start = max(0, len(text) - 2 * room)
    start -= start % room
    line = text.rfind("\n", 0, start) + 1
    return text[line if start - line < LONGEST_LINE else start :]


def _list(columns: Sequence[Column], now: float) -> Table:
    """One line for each model, where the terminal is too low for more."""
    rows = Table.grid(expand=True, padding=(0, 1))
    rows.add_column(no_wrap=True, ratio=2, overflow="ellipsis")
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True, justify="right")
    rows.add_column(no_wrap=True, ratio=3)
    for column in columns:
        said = column.failure or column.answer or column.thoughts
        rows.add_row(
            Text(column.name, style="bold"),
            Text(column.state, style=STYLES[column.state]),
            f"{column.elapsed(now):.1f} s",
            _Tail(" ".join(said.split()), 1, ""),
        )
    return rows
