"""The checks that stand around every test see what they are there for."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from tests.conftest import DESCRIPTORS, connections, leaving_nothing


async def test_a_task_that_outlives_its_test_is_seen() -> None:
    scope = trio.CancelScope()
    ended = trio.Event()

    async def linger() -> None:
        with scope:
            await trio.sleep_forever()
        ended.set()

    async def careless() -> None:
        trio.lowlevel.spawn_system_task(linger)

    with pytest.raises(AssertionError, match="tasks were left"):
        await leaving_nothing(careless)()
    scope.cancel()
    await ended.wait()
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="this system does not list descriptors")
async def test_a_socket_that_outlives_its_test_is_seen() -> None:
    kept: list[socket.socket] = []

    async def careless() -> None:
        kept.append(socket.socket())

    with pytest.raises(AssertionError, match="connections were left"):
        await leaving_nothing(careless)()
    kept[0].close()


async def test_what_was_open_before_and_what_was_closed_again_is_no_leak() -> None:
    async def careful() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
            with socket.socket():
                await trio.lowlevel.checkpoint()

    with socket.socket():
        await leaving_nothing(careful)()


def test_files_are_not_counted() -> None:
    before = connections()
    with open(__file__, encoding="utf-8"):
        assert connections() == before
