"""Who goes first when the reader is slower than the models; and that nobody's words are harmed."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from service.answer import Answer
from service.events import Chunk, Chunks, Complete, Done, Event, Queued, Start
from service.eventstream import encode
from service.fanin import READ_BYTES, Inbox, Outbox, Priority, open_fan_in
from service.providers import Ending, Prompt, Sink
from service.testing import Script
from tests.asking import comparison
from tests.grammar import check_stream

PRIORITIES: tuple[Priority, ...] = ("fair", "fastest", "asked")


def said(model: str, content: str) -> Chunks:
    return Chunks(model, (content,))


def ends(models: int, priority: Priority) -> tuple[list[Outbox], Inbox]:
    outbox, inbox = open_fan_in(models, priority)
    with outbox:
        return [outbox.clone() for _ in range(models)], inbox


async def read_slowly(priority: Priority, *scripts: Script) -> list[Event]:
    """Every event of a comparison, one a second, long after it was there."""
    events = []
    async with comparison(*scripts, priority=priority).open() as inbox:
        async for event in inbox:
            events.append(event)
            await trio.sleep(1)
    return events


def floods() -> list[Script]:
    """Three models that write faster than anybody reads; b begins first, then c, then a."""
    return [
        Script(name, (start, "0"), *[(0.001, str(n)) for n in range(1, 4)])
        for name, start in (("a", 0.3), ("b", 0.1), ("c", 0.2))
    ]


def order(events: list[Event]) -> str:
    return "".join(event.model for event in events if isinstance(event, Chunk))


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ("fair", "bca" * 4),
        ("fastest", "bbbbccccaaaa"),
        ("asked", "aaaabbbbcccc"),
    ],
)
async def test_who_goes_first(autojump_clock: MockClock, priority: Priority, expected: str) -> None:
    events = await read_slowly(priority, *floods())
    assert order(events) == expected


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_the_grammar_holds_whoever_goes_first(
    autojump_clock: MockClock, priority: Priority
) -> None:
    events = await read_slowly(priority, *floods())
    texts = check_stream(b"".join(map(encode, events)), ["a", "b", "c"])
    assert texts == dict.fromkeys("abc", "0123")
    assert [event.model for event in events[:3] if isinstance(event, Start)] == ["a", "b", "c"]
    assert isinstance(events[-1], Complete)


@pytest.mark.parametrize("priority", ["fastest", "asked"])
async def test_an_end_is_as_soon_as_the_words_before_it(
    autojump_clock: MockClock, priority: Priority
) -> None:
    events = await read_slowly(priority, *floods())
    kinds = [(event.model, event.type) for event in events if isinstance(event, Chunk | Done)]
    for one, other in pairwise(kinds):
        if other[1] == "done":
            assert one == (other[0], "chunk")


@pytest.mark.parametrize("priority", PRIORITIES)
async def test_a_reader_that_keeps_up_has_everything_at_once(
    autojump_clock: MockClock, priority: Priority
) -> None:
    began = trio.current_time()
    async with comparison(*floods(), priority=priority).open() as inbox:
        at = {}
        async for event in inbox:
            if isinstance(event, Done):
                at[event.model] = trio.current_time() - began
    assert at == {
        name: pytest.approx(start + 0.003) for name, start in (("a", 0.3), ("b", 0.1), ("c", 0.2))
    }


@pytest.mark.parametrize("priority", ["fastest", "asked"])
async def test_no_more_is_held_than_one_batch_of_each_model(priority: Priority) -> None:
    (a, b), inbox = ends(2, priority)
    with a, b:
        a.put(said("a", "1"))
        b.put(said("b", "1"))
        assert await inbox.batch() == (said("a", "1"),)
        # It was seen, but it has not been taken: its place is not free.
        assert (a.is_free, b.is_free) == (True, False)
        with pytest.raises(RuntimeError, match="not been taken"):
            b.put(said("b", "2"))
        a.put(said("a", "2"))
        assert inbox.batch_nowait() == (said("a", "2"),)
        assert inbox.batch_nowait() == (said("b", "1"),)
        with pytest.raises(trio.WouldBlock):
            inbox.batch_nowait()
        b.put(said("b", "2"))
    assert await inbox.batch() == (said("b", "2"),)
    with pytest.raises(trio.EndOfChannel):
        await inbox.batch()


@pytest.mark.parametrize("priority", ["fastest", "asked"])
async def test_what_is_said_about_all_is_not_one_model_among_others(priority: Priority) -> None:
    outbox, inbox = open_fan_in(2, priority)
    with outbox:
        first, second = outbox.clone(), outbox.clone()
        with first, second:
            outbox.put(said("all", "1"))
            assert await inbox.batch() == (said("all", "1"),)
            second.put(said("second", "1"))
            first.put(said("first", "1"))
            outbox.put(said("all", "2"))
            found = [inbox.batch_nowait() for _ in range(3)]
    names = ["all", "second", "first"] if priority == "fastest" else ["all", "first", "second"]
    assert [part.model for (part,) in found if isinstance(part, Chunks)] == names


@pytest.mark.parametrize("priority", ["fastest", "asked"])
async def test_a_wait_for_a_batch_that_is_cancelled_loses_none(
    autojump_clock: MockClock, priority: Priority
) -> None:
    (a, b), inbox = ends(2, priority)
    with a, b:
        for _ in range(3):
            with trio.move_on_after(1):
                await inbox.batch()
        b.put(said("b", "1"))
        a.put(said("a", "1"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await inbox.batch()
        got = [inbox.batch_nowait() for _ in range(2)]
    assert sorted(part.model for (part,) in got if isinstance(part, Chunks)) == ["a", "b"]


async def test_to_wait_in_a_line_is_not_to_be_the_fastest() -> None:
    (a, b), inbox = ends(2, "fastest")
    a.put(Queued(model="a", ahead=1))
    assert inbox.batch_nowait() == (Queued(model="a", ahead=1),)
    b.put(said("b", "first"))
    inbox.batch_nowait()
    a.put(said("a", "later"))
    b.put(said("b", "second"))
    assert inbox.batch_nowait() == (said("b", "second"),)


async def test_what_is_said_of_one_that_has_not_spoken_is_not_kept_behind_those_that_have() -> None:
    (a, b), inbox = ends(2, "fastest")
    b.put(said("b", "first"))
    inbox.batch_nowait()
    b.put(said("b", "second"))
    a.put(Queued(model="a", ahead=1))
    assert inbox.batch_nowait() == (Queued(model="a", ahead=1),)


@pytest.mark.parametrize("priority", ["asked", "fastest"])
async def test_one_that_goes_first_is_not_made_to_wait_until_the_last_is_heard(
    priority: Priority,
) -> None:
    (a, b), inbox = ends(2, priority)
    inbox.note(keeps_up=True)
    a.put(said("a", "x" * READ_BYTES))
    b.put(said("b", "x" * READ_BYTES))
    inbox.batch_nowait()
    with trio.fail_after(0):
        await a.turn()


class Flood(Script):
    """A model that always has more to say, until it has said enough."""

    async def stream(self, prompt: Prompt, sink: Sink) -> Ending:
        sink.connected()
        for _ in range(400):
            await sink.text("x" * 1000)
        return Ending(finish_reason="stop")


@pytest.mark.parametrize("seconds", [0.0, 0.04, 1.0])
async def test_at_the_wire_a_model_is_last_for_as_long_as_others_have_something_to_say(
    autojump_clock: MockClock, seconds: float
) -> None:
    models = [Flood("a"), Flood("b"), Flood("c")]
    ends = []
    async with Answer(comparison(*models, priority="asked")) as body:
        async for piece in body:
            ends += re.findall(rb'"model":"(.)","type":"done"', piece)
            begun = set(re.findall(rb'"model":"(.)","type":"chunk"', piece))
            if b"c" in begun:
                assert b"a" in ends
            await trio.sleep(seconds)
    assert ends == [b"a", b"b", b"c"]
