"""Live columns: what they know, how they are drawn, and what a terminal shows in the end."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import signal
import struct
import termios
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
import trio
from rich.console import Console, RenderableType

from service.cli.columns import Board
from service.cli.panels import draw, draw_whole
from service.events import Complete, ErrorChunk, Event
from service.testing import Close, open_wire
from tests.command import closing, running, simulator_config
from tests.test_cli_ask import HEAD, piece, wire_config
from tests.test_cli_lines import chunk, done, metadata, thought, tokens

# --- state ---


def board(*models: str, max_tokens: int = 1000) -> Board:
    return Board(models or ("a",), max_tokens=max_tokens, now=100.0)


def heard(on: Board, *events: tuple[float, Event]) -> Board:
    for now, event in events:
        on.hear(event, now)
    return on


def test_a_model_waits_thinks_writes_and_is_done() -> None:
    [column] = (one := board()).columns
    states = [column.state]
    for event in (thought("hm"), chunk("Yes"), done()):
        one.hear(event, 101.0)
        states.append(column.state)
    assert states == ["waiting", "thinking", "writing", "done"]


def test_its_clock_runs_until_it_is_done_and_then_tells_the_services_own_time() -> None:
    [column] = (one := board()).columns
    assert (column.elapsed(100.5), column.first_token()) == (0.5, None)
    heard(one, (100.25, thought("hm")))
    assert column.first_token() is None  # reasoning is no token of the answer
    heard(one, (100.5, chunk("Yes")), (101.0, chunk(".")))
    assert (column.elapsed(101.0), column.first_token()) == (1.0, 0.5)
    heard(one, (102.0, done(first_token_ms=400.0)))
    assert (column.elapsed(999.0), column.first_token()) == (3.61, 0.4)


def test_its_size_is_chunks_and_at_the_end_tokens() -> None:
    [column] = (one := board()).columns
    heard(one, (101, thought("hm")), (101, chunk("Yes")), (101, chunk(".")))
    assert column.size == 3
    heard(one, (102, done(usage=tokens(257))))
    assert column.size == 257


def test_a_failed_model_keeps_its_text_and_says_why() -> None:
    [column] = (one := board()).columns
    words = ErrorChunk(model="a", content="Error: Timeout (30s)")
    heard(one, (101, chunk("half")), (102, words), (102, done(code="idle_timeout")))
    assert (column.state, column.answer, column.failure) == ("failed", "half", "Timeout (30s)")
    assert column.size == 1  # an estimate of tokens would be worth less


def test_models_do_not_mix_and_their_texts_are_whole() -> None:
    both = heard(board("a", "b"), (101, chunk("one ", "a")), (101, chunk("two", "b")))
    heard(both, (102, chunk("more", "a")))
    assert [column.answer for column in both.columns] == ["one more", "two"]


def test_the_board_is_complete_when_the_comparison_is() -> None:
    one = board()
    assert one.metadata is None
    heard(one, (103, Complete(metadata=metadata())))
    assert one.metadata == metadata()


# --- drawing ---


def drawn(picture: RenderableType, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(picture)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_a_panel_shows_the_state_the_figures_and_the_latest_words() -> None:
    text = "".join(f"line {number}\n" for number in range(30)) + "the end"
    one = heard(board("sim:swift"), (100.5, chunk(text, "sim:swift")))
    lines = drawn(draw(one, 101.25, width=40, height=13), 40)
    assert len(lines) == 12  # the cursor stands below
    assert lines[0].startswith("╭─ sim:swift writing ──")
    assert re.fullmatch(r"│ 1\.2 s +1 chunks │", lines[1])
    assert lines[2].endswith(" 0% of max │")
    assert lines[3].startswith("│ line 23 ")
    assert lines[-2].startswith("│ the end ")
    assert lines[-1].endswith("─ first token 0.50 s ─╯")


def test_the_bar_is_a_share_of_what_may_be_written() -> None:
    one = heard(board(max_tokens=1000), (101, chunk("x")), (102, done(usage=tokens(500))))
    lines = drawn(draw(one, 102, width=60, height=20), 60)
    assert lines[1].endswith(" 500 tokens │")
    bar, share = lines[2].removeprefix("│ ").split(" 50% of max ")
    assert share == "│"
    assert bar.count("━") == len(bar) // 2  # without colours the rest is blank


@pytest.mark.parametrize("count", range(1, 10))
@pytest.mark.parametrize(("width", "height"), [(200, 60), (80, 24), (60, 24), (26, 24), (20, 10)])
def test_up_to_nine_models_fit_every_terminal(count: int, width: int, height: int) -> None:
    names = [f"provider/model-with-a-rather-long-name-{number}" for number in range(count)]
    many = board(*names)
    for name in names:
        heard(many, (101, chunk("Ein sehr langer Satz über 日本語 und mehr. " * 40, name)))
    lines = drawn(draw(many, 102, width=width, height=height), width)
    assert len(lines) < height
    assert all(Console().measure(line).maximum <= width for line in lines)
    assert sum(line.count(" writing") for line in lines) == count


@pytest.mark.parametrize(
    ("count", "width", "abreast"),
    [(1, 120, 1), (2, 120, 2), (3, 120, 3), (4, 120, 2), (5, 120, 3), (9, 120, 3), (3, 60, 2)],
)
def test_rows_are_of_three_at_most_and_filled_evenly(count: int, width: int, abreast: int) -> None:
    many = board(*(f"m{number}" for number in range(count)))
    [first, *_] = drawn(draw(many, 100, width=width, height=50), width)
    assert first.count("╭") == abreast


def test_the_latest_words_are_wrapped_as_they_were_before() -> None:
    # A line that was wrapped anew with every chunk could not be read.
    one, seen = board(), list[str]()
    for number in range(200):
        heard(one, (101, chunk(f"word{number} ")))
        rows = drawn(draw(one, 101, width=40, height=10), 40)[3:-1]
        lines = [row[2:-2].strip() for row in rows if row[2:-2].strip()]
        seen += [line for line in lines[:-1] if line not in seen]  # the last is still written on
    words = " ".join(seen).split()
    assert len(words) > 190
    assert words == [f"word{number}" for number in range(len(words))]


def test_thoughts_are_shown_until_the_answer_begins() -> None:
    one = heard(board(), (101, thought("to be or not")))
    assert any("to be or not" in line for line in drawn(draw(one, 101, width=60, height=20)))
    heard(one, (101, chunk("Be.")))
    lines = drawn(draw(one, 101, width=60, height=20))
    assert not any("to be or not" in line for line in lines)
    assert any("Be." in line for line in lines)


def test_the_last_picture_has_the_whole_answers_the_reasons_and_the_summary() -> None:
    two = board("a", "b")
    answer = "\n".join(f"line {number}" for number in range(100))
    words = ErrorChunk(model="b", content="Error: Rate limited")
    heard(
        two,
        (101, chunk(answer)),
        (102, done()),
        (102, words),
        (102, done("b", code="rate_limited")),
    )
    heard(two, (103, Complete(metadata=metadata(models=2, failed=1))))
    lines = drawn(draw_whole(two, 103, width=100), 100)
    shown = "\n".join(lines)
    assert all(re.search(rf"line {number}\b", shown) for number in range(100))
    assert "b failed" in lines[0]
    assert "Rate limited" in shown
    assert lines[-1].startswith("2 models (1 failed) in 3.61 s")


def test_nothing_in_a_text_or_a_name_is_markup() -> None:
    name = "[red]m[/red]:smile:"
    one = heard(board(name), (101, chunk("[bold]b[/bold] :heart: [/] [", name)))
    for picture in (draw(one, 101, width=60, height=20), draw_whole(one, 101, width=60)):
        shown = "\n".join(drawn(picture, 60))
        assert name in shown
        assert "[bold]b[/bold] :heart: [/] [" in shown


# --- in a terminal ---


@dataclass(slots=True)
class Screen:
    """As much of a terminal as rich asks for; it has as many lines as it takes."""

    rows: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    cursor_shown: bool = True
    cut: str = ""
    """The beginning of a sequence whose end is still to come."""

    def feed(self, data: str) -> None:
        data, begun, rest = (self.cut + data).rpartition("\x1b")
        if re.fullmatch(r"(\[[?0-9;]*)?", rest) and begun:
            self.cut = begun + rest
        else:
            data, self.cut = data + begun + rest, ""
        for sequence, sign in re.findall(r"\x1b\[([?0-9;]*[A-Za-z])|(.)", data, re.DOTALL):
            if sequence:
                self._obey(sequence)
            else:
                self._write(sign)

    def _obey(self, sequence: str) -> None:
        match sequence[:-1], sequence[-1]:
            case number, "A":
                self.row -= int(number or 1)
                assert self.row >= 0
            case "2", "K":
                self.rows[self.row] = ""
            case "?25", "l" | "h" as switch:
                self.cursor_shown = switch == "h"
            case _, "m":
                pass
            case unknown:
                raise AssertionError(f"no terminal should be told {unknown}")

    def _write(self, sign: str) -> None:
        if sign == "\r":
            self.column = 0
        elif sign == "\n":
            self.row += 1
            if self.row == len(self.rows):
                self.rows.append("")
        else:
            assert sign.isprintable(), f"no terminal should be told {sign!r}"
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + sign + row[self.column + 1 :]
            self.column += 1


class Terminal:
    """The far side of a pseudo terminal: what a person sees."""

    def __init__(self, master: trio.lowlevel.FdStream) -> None:
        self._master = master
        self.screen = Screen()
        self.frames = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    async def look(self) -> bool:
        """Take in what is shown next; false when nothing more will be."""
        try:
            data = await self._master.receive_some()
        except trio.BrokenResourceError:  # Linux: all who could write have left
            return False
        self.frames += data.count(b"\x1b[1A")
        self.screen.feed(self._decoder.decode(bytes(data)))
        return bool(data)

    async def watch(self) -> list[str]:
        """Look until the end; what the screen shows then."""
        while await self.look():
            pass
        return [row.rstrip() for row in self.screen.rows]


@asynccontextmanager
async def at_a_terminal(
    *arguments: str, kind: str = "xterm-256color"
) -> AsyncIterator[tuple[trio.Process, Terminal]]:
    """The command in a terminal of 24 lines and 100 columns."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    async with trio.lowlevel.FdStream(master) as stream, AsyncExitStack() as stack:
        with closing(slave):  # so that only the process has it, and its end is seen
            process = await stack.enter_async_context(
                running(*arguments, stdin=slave, stdout=slave, stderr=slave, TERM=kind)
            )
        yield process, Terminal(stream)


def panels_in(rows: Iterable[str]) -> list[str]:
    return [title for row in rows for title in re.findall(r"╭─ (.*?) ─", row)]


async def test_a_terminal_sees_columns_move_and_in_the_end_the_whole_answers(
    tmp_path: Path,
) -> None:
    config = simulator_config(tmp_path, speed=5)
    models = ("-m", "sim:swift", "-m", "sim:terse", "-m", "sim:fails")
    with trio.fail_after(20):
        async with at_a_terminal("ask", "why?", *models, "--config", config) as (process, terminal):
            rows = await terminal.watch()
            assert await process.wait() == 1
    assert terminal.frames > 3
    assert terminal.screen.cursor_shown
    # No remains of an earlier picture: one panel for each model, from the top to the summary.
    assert panels_in(rows) == ["sim:swift done", "sim:terse done", "sim:fails failed"]
    assert rows[0].startswith("╭─ sim:swift done ─")
    text = "\n".join(rows)
    assert "This is a simulated answer" in text
    assert "Done. ✔" in text
    assert "failed: The simulated" in text
    assert rows[-2].startswith("3 models (1 failed) in ")
    assert rows[-1] == ""


async def test_ctrl_c_leaves_the_last_picture_one_line_and_the_cursor(tmp_path: Path) -> None:
    with trio.fail_after(20):
        async with open_wire(HEAD, piece("first words")) as wire:
            asked = ("ask", "why?", "-m", "wire:a", "--config", wire_config(tmp_path, wire))
            async with at_a_terminal(*asked) as (process, terminal):
                while not any("first words" in row for row in terminal.screen.rows):
                    assert await terminal.look()
                assert not terminal.screen.cursor_shown
                process.send_signal(signal.SIGINT)
                rows = await terminal.watch()
                assert await process.wait() == 130
                await wire.all_closed()
    assert panels_in(rows) == ["wire:a stopped"]
    assert terminal.screen.cursor_shown
    said = [row for row in rows if row]  # the last picture may be lower than the one before
    assert said[-2].startswith("╰")
    assert said[-1] == "stopped"


async def test_no_control_sequence_of_a_model_reaches_the_terminal(tmp_path: Path) -> None:
    # The screen refuses whatever rich itself does not say.
    evil = "\x1b[2J\x1b]0;title\x07\x1b[8mhidden\x9b2J\x00"
    with trio.fail_after(20):
        async with open_wire(HEAD, piece(evil), Close()) as wire:
            asked = ("ask", "why?", "-m", "wire:a", "--config", wire_config(tmp_path, wire))
            async with at_a_terminal(*asked) as (process, terminal):
                rows = await terminal.watch()
                assert await process.wait() == 1
    assert any("�[2J�]0;title��[8mhidden�2J�" in row for row in rows)


async def test_a_warning_waits_until_the_columns_have_ended(tmp_path: Path) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nno!"
    with trio.fail_after(20):
        async with open_wire(page) as wire:
            asked = ("ask", "why?", "-m", "wire:a", "--config", wire_config(tmp_path, wire))
            async with at_a_terminal(*asked) as (process, terminal):
                rows = await terminal.watch()
                assert await process.wait() == 1
    summary = next(n for n, row in enumerate(rows) if row.startswith("1 model (1 failed) in "))
    assert panels_in(rows) == ["wire:a failed"]
    assert "not an event stream" in rows[summary + 1]


async def test_a_terminal_that_cannot_go_back_gets_plain_lines(tmp_path: Path) -> None:
    config = simulator_config(tmp_path, speed=50)
    with trio.fail_after(20):
        asked = ("ask", "why?", "-m", "sim:terse", "--config", config)
        async with at_a_terminal(*asked, kind="dumb") as (process, terminal):
            rows = await terminal.watch()
            assert await process.wait() == 0
    assert rows[0].startswith("[sim:terse] Simulated")
    assert terminal.frames == 0
