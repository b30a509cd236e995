"""Reading the settings again: all or nothing, one at a time, and a line that says how it went."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from service import log, reloading
from service.application import create_app
from service.providers.roster import Roster
from service.reloading import Reloading
from service.settings import Limits, ProviderSettings, Server, Settings, SettingsError
from service.shared import Shared
from service.testing import Script, open_app, open_exchange, open_wire
from tests.clients import ask, asking, call
from tests.conftest import connections, tasks

BEFORE = Settings()
AFTER = Settings(limits=Limits(max_models=2), server=Server(drain=7))
Line = dict[str, Any]


class Desk:
    """An application whose settings, and whose opening, are the test's."""

    def __init__(self, *read: Settings | Exception | Callable[[], Settings]) -> None:
        self.read = list(read)
        """What comes of each reading; the last one is repeated."""
        self.opening: list[Callable[[Settings], Any]] = []
        """What happens at each opening after the first."""
        self.opened = 0
        self.closed = 0
        self.app = create_app(BEFORE, open_roster=self._open, reread=self._reread)
        shared = Shared.of(self.app)
        assert shared is not None
        self.shared = shared
        self.reloading = Reloading(shared)

    def _reread(self) -> Settings:
        outcome = self.read.pop(0) if len(self.read) > 1 else self.read[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, Settings) else outcome()

    @asynccontextmanager
    async def _open(self, settings: Settings) -> AsyncIterator[Roster]:
        if self.opened and self.opening:
            await self.opening.pop(0)(settings)
        self.opened += 1
        try:
            yield Roster({"sim": Script("sim", (0, "x"))}, "sim")
        finally:
            self.closed += 1


async def fails(_: Settings) -> None:
    raise OSError(24, "Too many open files")


async def hangs(_: Settings) -> None:
    await trio.sleep_forever()


def said(lines: list[Line]) -> list[tuple[str, str, str]]:
    """The lines about settings: the event, the level, and what is said."""
    return [
        (line["event"], line["log_level"], str(line.get("reason", line.get("changed"))))
        for line in lines
        if line["event"].startswith("settings")
    ]


async def test_a_reading_that_succeeds_says_what_changed_and_who_still_has_the_old(
    log_lines: list[Line],
) -> None:
    desk = Desk(AFTER)
    async with open_app(desk.app):
        async with open_exchange(desk.app, "/compare-stream", json_body=asking("m")) as exchange:
            await exchange.next_body()
            assert await desk.reloading.reload()
        [line] = [line for line in log_lines if line["event"] == "settings read again"]
        assert (line["changed"], line["on_older"]) == ("limits.max_models, server.drain", 1)
        assert desk.shared.settings == AFTER


async def test_settings_that_are_the_same_open_nothing(log_lines: list[Line]) -> None:
    desk = Desk(Settings())
    async with open_app(desk.app):
        assert await desk.reloading.reload()
    assert said(log_lines) == [("settings read again", "info", "nothing")]
    assert desk.opened == 1


MISTAKE = SettingsError("c.toml: limits.max_modelz: unknown key; expected one of max_models.")


@pytest.mark.parametrize(
    ("read", "opening", "reason"),
    [
        (MISTAKE, [], str(MISTAKE)),
        (
            RuntimeError("of ours"),
            [],
            "they could not be read: RuntimeError: of ours.",
        ),
        (
            AFTER,
            [fails],
            "what they name could not be opened: OSError: [Errno 24] Too many open files.",
        ),
        (
            replace(AFTER, server=Server(hosts=("not a host",))),
            [],
            "what they name could not be opened: ValueError: expected a host name or address "
            'without a port, such as "example.org", "*.example.org".',
        ),
    ],
    ids=["mistake", "fault", "opening", "surface"],
)
async def test_a_mistake_keeps_everything_and_says_why(
    read: Any, opening: list[Any], reason: str, log_lines: list[Line]
) -> None:
    desk = Desk(read, AFTER)
    desk.opening = opening
    async with open_app(desk.app):
        in_force = desk.shared.in_force
        assert not await desk.reloading.reload()
        kept = [line for line in said(log_lines) if line[0] == "settings kept"]
        assert kept == [("settings kept", "error", reason)]
        assert desk.shared.in_force is in_force
        assert desk.shared.generations == [in_force]
        assert desk.shared.admission.limit == 256
        assert (await ask(desk.app, *"abc")).status == 200
        # What is right the next time is taken.
        assert await desk.reloading.reload()
        assert (await ask(desk.app, *"abc")).status == 400
    assert desk.opened == desk.closed == 2


class Besides:
    """What is read with the settings, and always new."""

    name = "besides"

    def __init__(self) -> None:
        self.renewed = 0

    def reread(self) -> Callable[[], None]:
        return self._put_in_force

    def _put_in_force(self) -> None:
        self.renewed += 1


async def test_what_is_read_besides_stays_as_well_where_the_providers_can_not_be_opened() -> None:
    desk, besides = Desk(AFTER), Besides()
    desk.opening = [fails]
    reloading = Reloading(desk.shared, besides=[besides])
    async with open_app(desk.app):
        assert not await reloading.reload()
        assert besides.renewed == 0
        assert desk.shared.meter.readings == {"in_force": 0, "kept": 1}
        assert await reloading.reload()
        assert besides.renewed == 1
        assert desk.shared.meter.readings == {"in_force": 1, "kept": 1}


async def test_an_opening_that_hangs_ends_in_time_and_keeps_everything(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, log_lines: list[Line]
) -> None:
    desk = Desk(AFTER)
    desk.opening = [hangs]
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    async with open_app(desk.app):
        assert not await desk.reloading.reload()
        assert trio.current_time() == 10
        assert (await ask(desk.app, *"abc")).status == 200
    reason = "the providers could not be opened within 10 s."
    assert said(log_lines) == [("settings kept", "error", reason)]
    assert desk.opened == desk.closed == 1


async def at_once(read: Callable[[], Any], **_: Any) -> Any:
    """A thread that needs no time: by a clock that jumps while one works it would take for ever."""
    await trio.lowlevel.checkpoint()
    return read()


async def test_a_reading_that_hangs_holds_up_nobody_and_is_not_begun_twice(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[Line]
) -> None:
    monkeypatch.setattr(reloading, "READ_SECONDS", 0.05)
    released = threading.Event()
    begun: list[threading.Thread] = []

    def hang() -> Settings:
        begun.append(threading.current_thread())
        released.wait(10)
        return BEFORE

    desk = Desk(hang, AFTER)
    async with open_app(desk.app):
        assert not await desk.reloading.reload()
        assert (await ask(desk.app, *"abc")).status == 200
        assert not await desk.reloading.reload()
        assert len(begun) == 1
        reason = "they could not be read within 0.05 s."
        assert said(log_lines) == [("settings kept", "error", reason)] * 2
        released.set()
        monkeypatch.setattr(reloading, "READ_SECONDS", 10)
        assert await desk.reloading.reload()
        assert desk.shared.settings == AFTER  # and not what the first one read


async def test_readings_take_turns_and_the_last_state_wins(log_lines: list[Line]) -> None:
    readings = [Settings(limits=Limits(max_models=n)) for n in range(2, 7)]
    desk = Desk(*readings)

    async def slow(_: Settings) -> None:  # another would overtake it
        await trio.sleep(0.1)

    desk.opening = [slow]
    async with open_app(desk.app):
        async with trio.open_nursery() as nursery:
            for _ in readings:
                nursery.start_soon(desk.reloading.reload)
        assert desk.shared.settings == readings[-1]
    assert len(said(log_lines)) == 5
    assert desk.opened == desk.closed == 6


async def test_before_the_providers_are_there_it_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    desk = Desk(AFTER)
    with trio.fail_after(5):
        await _told_before(desk)


async def _told_before(desk: Desk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.reloading.reload)
        await trio.testing.wait_all_tasks_blocked()
        assert desk.shared.settings == BEFORE
        async with open_app(desk.app):
            while desk.shared.settings != AFTER:  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.001)


async def test_in_a_drain_it_is_left_be_with_a_line(log_lines: list[Line]) -> None:
    desk = Desk(AFTER)
    async with open_app(desk.app):
        await desk.shared.admission.drain(1)
        assert not await desk.reloading.reload()
    assert said(log_lines) == [("settings kept", "info", "the process is stopping.")]
    assert desk.opened == 1


async def test_a_drain_that_begins_while_it_opens_is_not_met_by_other_settings(
    log_lines: list[Line],
) -> None:
    desk = Desk(AFTER)
    opening = trio.Event()

    async def slow(_: Settings) -> None:
        opening.set()
        await trio.testing.wait_all_tasks_blocked()

    desk.opening = [slow]
    async with open_app(desk.app):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.reloading.reload)
            await opening.wait()
            await desk.shared.admission.drain(1)
        assert desk.shared.settings == BEFORE
        await trio.testing.wait_all_tasks_blocked()
        assert (desk.opened, desk.closed) == (2, 1)
    assert said(log_lines) == [("settings kept", "info", "the process is stopping.")]


async def test_the_end_of_serving_does_not_wait_for_what_is_being_opened() -> None:
    desk = Desk(AFTER)
    begun = trio.Event()

    async def hang(_: Settings) -> None:
        begun.set()
        await trio.sleep_forever()

    desk.opening = [hang]
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery, open_app(desk.app):
            nursery.start_soon(desk.reloading.reload)
            await begun.wait()
    assert desk.opened == desk.closed == 1


async def test_settings_of_a_program_can_not_be_read_again(log_lines: list[Line]) -> None:
    async with open_app(app := create_app(BEFORE)):
        shared = Shared.of(app)
        assert shared is not None
        assert not await Reloading(shared).reload()
    [(event, level, _)] = said(log_lines)
    assert (event, level) == ("settings kept", "error")


async def test_what_fails_in_the_closing_of_old_providers_ends_nothing(
    log_lines: list[Line],
) -> None:
    @asynccontextmanager
    async def open_roster(_: Settings) -> AsyncIterator[Roster]:
        yield Roster({"sim": Script("sim", (0, "x"))}, "sim")
        if app_has_begun:
            app_has_begun.clear()
            raise RuntimeError("in the closing")

    app_has_begun = [True]
    app = create_app(BEFORE, open_roster=open_roster, reread=lambda: AFTER)
    async with open_app(app):
        shared = Shared.of(app)
        assert shared is not None
        assert await Reloading(shared).reload()
        await trio.testing.wait_all_tasks_blocked()
        assert (await ask(app, "m")).status == 200
    assert "old providers failed" in [line["event"] for line in log_lines]


# --- nothing is left ----------------------------------------------------------------------------


async def test_a_thousand_readings_leave_no_task_and_no_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    async with open_wire(head + b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n') as wire:
        provider = ProviderSettings(dialect="openai", base_url=wire.base_url)
        numbers = iter(range(10**6))

        def reread() -> Settings:
            return Settings(
                default_provider="p",
                providers={"p": provider, "sim": ProviderSettings(dialect="simulated")},
                keys={"p": f"key-{next(numbers)}"},
            )

        app = create_app(reread(), reread=reread)
        shared = Shared.of(app)
        assert shared is not None
        reloading_ = Reloading(shared)
        async with open_app(app):
            async with open_exchange(app, "/compare-stream", json_body=asking("m")) as exchange:
                body = b""
                while b'"content":"x"' not in body:
                    body += await exchange.next_body() or b""
                assert await reloading_.reload()
                await trio.testing.wait_all_tasks_blocked()
                before = len(tasks()), len(connections())
                for _ in range(1000):
                    assert await reloading_.reload()
                await trio.testing.wait_all_tasks_blocked()
                assert (len(tasks()), len(connections())) == before
                assert len(shared.generations) == 2
                assert wire.open == 1  # the answer that has run all the while
            await trio.testing.wait_all_tasks_blocked()
            assert len(shared.generations) == 1
            with trio.fail_after(5):
                await wire.all_closed()


# --- what is known of keys ----------------------------------------------------------------------


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a log of our own writes."""
    before = structlog.get_config()
    output = io.StringIO()
    log.configure(secrets=["first-secret"], output=output)
    yield output
    structlog.configure(**before)


async def test_a_new_key_is_hidden_before_it_is_used_and_the_old_one_still_is(
    written: io.StringIO,
) -> None:
    provider = ProviderSettings(dialect="openai", base_url="http://127.0.0.1:9/v1")
    settings = Settings(default_provider="sim", providers={"p": provider})

    async def tell(opened: Settings) -> None:
        words = f"{opened.keys['p']} and first-secret"
        structlog.get_logger().info("a provider says", words=words)

    desk = Desk(replace(settings, keys={"p": "second-secret"}))
    desk.opening = [tell]
    async with open_app(desk.app):
        assert await desk.reloading.reload()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["words"] for line in lines if "words" in line] == ["[hidden] and [hidden]"]
    [line] = [line for line in lines if line["event"] == "settings read again"]
    assert line["changed"] == "providers.sim, providers.p, keys.p"
    assert "secret" not in written.getvalue().replace("settings", "")


async def test_a_key_that_somebody_is_still_served_with_is_hidden_after_many_others(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MOST_SECRETS", 3)
    provider = ProviderSettings(dialect="openai", base_url="http://127.0.0.1:9/v1")
    settings = Settings(default_provider="sim", providers={"p": provider})
    desk = Desk(*(replace(settings, keys={"p": f"key-number-{n}"}) for n in range(6)))
    async with open_app(desk.app):
        assert await desk.reloading.reload()
        async with open_exchange(desk.app, "/compare-stream", json_body=asking("m")) as exchange:
            await exchange.next_body()
            for _ in range(5):
                assert await desk.reloading.reload()
                await trio.testing.wait_all_tasks_blocked()
            assert len(desk.shared.generations) == 2
            structlog.get_logger().info("it says", words="key-number-0, key-number-5")
            await exchange.read()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["words"] for line in lines if "words" in line] == ["[hidden], [hidden]"]


async def test_other_settings_are_there_at_once_for_whoever_asks_for_the_list() -> None:
    desk = Desk(replace(AFTER, server=Server(hosts=("example.org",))))
    async with open_app(desk.app):
        assert (await call(desk.app, "GET", "/models")).status == 200
        await desk.reloading.reload()
        assert (await call(desk.app, "GET", "/models")).status == 421
