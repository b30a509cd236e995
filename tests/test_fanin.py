"""Many models' events in one channel: order, turns, and what it holds."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from service.events import Chunk, Chunks, ErrorChunk, Queued
from service.fanin import HELD_BYTES, READ_BYTES, Inbox, Outbox, open_fan_in


def said(model: str, *contents: str) -> Chunks:
    return Chunks(model, contents)


def ends(models: int) -> tuple[list[Outbox], Inbox]:
    """An end for each model, the original closed as its owner closes it."""
    outbox, inbox = open_fan_in(models)
    with outbox:
        return [outbox.clone() for _ in range(models)], inbox


async def test_batches_come_in_the_order_in_which_they_were_put() -> None:
    (a, b), inbox = ends(2)
    with a, b:
        b.put(said("b", "1"))
        a.put(said("a", "1"))
    got = [event async for event in inbox]
    assert got == [Chunk(model="b", content="1"), Chunk(model="a", content="1")]


async def test_pieces_that_came_together_are_events_of_their_own_to_who_reads_events() -> None:
    (a,), inbox = ends(1)
    with a:
        a.put(said("a", "1", "2"), ErrorChunk(model="a", content="Error: x"))
        assert await inbox.receive() == Chunk(model="a", content="1")
        assert inbox.receive_nowait() == Chunk(model="a", content="2")
        assert inbox.receive_nowait() == ErrorChunk(model="a", content="Error: x")
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()
    with pytest.raises(trio.EndOfChannel):
        inbox.batch_nowait()


async def test_a_model_that_floods_is_one_batch_ahead_of_another_and_never_two(
    autojump_clock: MockClock,
) -> None:
    (fast, slow), inbox = ends(2)
    taken: list[str] = []

    async def flood() -> None:
        with fast:
            for n in range(50):
                await fast.send(said("fast", str(n)))

    async def drip() -> None:
        with slow:
            for n in range(5):
                await trio.sleep(1)
                await slow.send(said("slow", str(n)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        nursery.start_soon(drip)
        for n in range(5):
            await trio.sleep_until(n + 1.5)  # the reader is what is slow here
            for _ in range(2):
                taken += [part.model for part in await inbox.batch() if isinstance(part, Chunks)]
        assert taken == ["fast", "slow"] * 5
        nursery.cancel_scope.cancel("enough is seen")


async def test_a_place_is_free_when_its_batch_was_taken_and_not_before() -> None:
    (a,), inbox = ends(1)
    with a:
        assert a.is_free
        a.put(said("a", "1"))
        assert not a.is_free
        with pytest.raises(RuntimeError, match="not been taken"):
            a.put(said("a", "2"))
        assert await inbox.batch() == (said("a", "1"),)
        assert a.is_free
        await a.taken()  # at once


async def test_who_waits_for_its_place_is_woken_when_it_is_free() -> None:
    (a,), inbox = ends(1)
    done: list[str] = []

    async def send() -> None:
        with a:
            await a.send(said("a", "1"))
            done.append("taken")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert done == []
        await inbox.batch()
        await wait_all_tasks_blocked()
        assert done == ["taken"]


async def test_the_channel_ends_when_every_end_is_closed() -> None:
    (a, b), inbox = ends(2)
    with a:
        pass
    with b:
        b.put(said("b", "1"))
    assert [event async for event in inbox] == [Chunk(model="b", content="1")]


async def test_a_reader_that_keeps_up_lets_models_read_much_at_once() -> None:
    (a, *_), inbox = ends(9)
    assert a.room() == READ_BYTES
    a.put(said("a", "x" * 1000))
    await inbox.batch()
    assert a.room() == READ_BYTES


@pytest.mark.parametrize("models", [1, 2, 3, 9])
async def test_all_that_is_held_for_a_reader_that_stalls_is_bounded(models: int) -> None:
    outboxes, _ = ends(models)
    held = 0
    for outbox in outboxes:
        # As text of nothing but letters, which is the most that can come of a read.
        text = "x" * outbox.room()
        held += len(text)
        outbox.put(said("m", text))
    assert held <= HELD_BYTES
    # Nobody was left without a share because others had come before.
    assert min(outbox.room() for outbox in outboxes) >= HELD_BYTES // 2 // models


async def waiting_their_turn(outboxes: list[Outbox], nursery: trio.Nursery) -> list[int]:
    """A task for each that waits for its turn; who had it, in order, is noted here."""
    had: list[int] = []

    async def wait(n: int) -> None:
        await outboxes[n].turn()
        had.append(n)
        outboxes[n].put(said("x", "y" * READ_BYTES))

    for n in range(len(outboxes)):
        nursery.start_soon(wait, n)
        await wait_all_tasks_blocked()
    return had


async def test_models_take_turns_to_read_much_while_the_reader_keeps_up() -> None:
    (first, *others), inbox = ends(4)
    first.put(said("first", "y" * READ_BYTES))
    async with trio.open_nursery() as nursery:
        had = await waiting_their_turn(others, nursery)
        for n in range(3):
            assert had == list(range(n))
            inbox.batch_nowait()
            await wait_all_tasks_blocked()
    assert had == [0, 1, 2]


async def test_nobody_waits_for_a_turn_behind_a_reader_that_does_not_keep_up() -> None:
    (first, *others), inbox = ends(4)
    first.put(said("first", "y" * READ_BYTES))
    inbox.note(keeps_up=False)
    async with trio.open_nursery() as nursery:
        assert await waiting_their_turn(others, nursery) == [0, 1, 2]


async def test_those_who_wait_for_a_turn_are_let_in_when_the_reader_stops_to_keep_up() -> None:
    (first, second, *others), inbox = ends(5)
    first.put(said("first", "y" * READ_BYTES))
    second.put(said("second", "y" * READ_BYTES))
    async with trio.open_nursery() as nursery:
        had = await waiting_their_turn(others, nursery)
        assert had == []
        inbox.note(keeps_up=False)
        inbox.batch_nowait()
        await wait_all_tasks_blocked()
    assert had == [0, 1, 2]


async def test_who_leaves_while_it_has_its_turn_passes_it_on() -> None:
    (first, second, third), inbox = ends(3)
    first.put(said("first", "y" * READ_BYTES))
    had = []

    async def wait_and_find_nothing(outbox: Outbox, scope: trio.CancelScope) -> None:
        with scope:
            await outbox.turn()
            had.append(outbox)

    scopes = [trio.CancelScope(), trio.CancelScope()]
    async with trio.open_nursery() as nursery:
        for outbox, scope in zip((second, third), scopes, strict=True):
            nursery.start_soon(wait_and_find_nothing, outbox, scope)
            await wait_all_tasks_blocked()
        inbox.batch_nowait()
        scopes[0].cancel()
    assert third in had


async def test_what_is_told_ahead_is_joined_by_what_comes_next_until_it_is_taken() -> None:
    outbox, inbox = open_fan_in(1)
    model = outbox.clone()
    for ahead in (3, 2, 1):
        model.tell_ahead(Queued(model="a", ahead=ahead))
    text = Chunk(model="a", content="x")
    model.put(text)
    with pytest.raises(RuntimeError):
        model.tell_ahead(Queued(model="a", ahead=0))  # it is no part of the words behind it
    assert not model.is_free
    assert list(await inbox.batch()) == [Queued(model="a", ahead=1), text]
    assert model.is_free
    assert inbox._held.size == 0
