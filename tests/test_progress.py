"""How far a model is: what is told, when, and of what it is a part; all times are virtual."""

from __future__ import annotations

import math

import pytest
from trio.testing import MockClock

from service.account import Account
from service.errors import ProviderError
from service.events import Chunk, Done, Event, Progress
from service.progress import MOST_MODELS, REMEMBERED, Experience, Gauge
from service.providers import Ending, Message, Prompt
from service.testing import Script, Thought, app_for, open_app
from tests.asking import timeline
from tests.clients import ask
from tests.grammar import check_stream, legacy_events

Timed = list[tuple[float, Event]]


def told(events: Timed) -> list[tuple[float, float | None, int]]:
    return [(at, e.fraction, e.tokens) for at, e in events if isinstance(e, Progress)]


def known(model: str, *lengths: int) -> Experience:
    experience = Experience()
    for length in lengths:
        experience.record(model, length)
    return experience


# --- when ---------------------------------------------------------------------------------------


async def test_it_is_told_four_times_a_second_with_what_comes_and_not_with_the_first_words(
    autojump_clock: MockClock,
) -> None:
    # Sixteenths of a second, so that the sums are exact.
    script = Script("a", *[(0.0625, "four")] * 16)
    events = await timeline(script, max_tokens=1000)
    assert told(events) == [
        (0.3125, 0.005, 5),
        (0.5625, 0.009, 9),
        (0.8125, 0.013, 13),
    ]


async def test_it_rides_along_right_behind_the_words_that_it_counts(
    autojump_clock: MockClock,
) -> None:
    events = await timeline(Script("a", (1, "four"), (1, "four"), (1, Thought("four"))))
    kinds = [(at, e.type) for at, e in events[1:-2]]
    assert kinds == [
        (1, "chunk"),
        (2, "chunk"),
        (2, "progress"),
        (3, "reasoning"),
        (3, "progress"),
    ]
    assert [tokens for _, _, tokens in told(events)] == [2, 3]


async def test_a_model_that_is_silent_shows_none(autojump_clock: MockClock) -> None:
    events = await timeline(Script("a", (1, "x"), (50, "y"), (50, "z")))
    assert [at for at, _, _ in told(events)] == [51, 101]


async def test_each_model_has_its_own_quarter_of_a_second(autojump_clock: MockClock) -> None:
    scripts = [
        Script(name, (start, "x"), *[(0.125, "x")] * 4) for name, start in (("a", 1), ("b", 1.125))
    ]
    events = await timeline(*scripts)
    found = [(at, e.model) for at, e in events if isinstance(e, Progress)]
    assert found == [(1.25, "a"), (1.375, "b"), (1.5, "a"), (1.625, "b")]


async def test_nothing_is_told_after_done(autojump_clock: MockClock) -> None:
    for ending in (Ending(finish_reason="stop"), ProviderError("truncated", "No more.")):
        app = app_for(Script("a", *[(0.3, "x")] * 5, (0.3, ending)))
        async with open_app(app):
            reply = await ask(app, "a:1", "a:2")
        check_stream(reply.body, ["a:1", "a:2"])
        kinds = [e["type"] for e in legacy_events(reply.body) if e.get("model") == "a:1"]
        assert kinds.count("progress") == 4


# --- of what ------------------------------------------------------------------------------------


async def test_of_max_tokens_while_nothing_is_known(autojump_clock: MockClock) -> None:
    events = await timeline(Script("a", *[(1, "x" * 400)] * 3), max_tokens=400)
    assert [(fraction, tokens) for _, fraction, tokens in told(events)] == [(0.5, 200), (0.75, 300)]


async def test_of_what_the_model_usually_needs_once_that_is_known(
    autojump_clock: MockClock,
) -> None:
    experience = known("a:a", 100, 200, 2000)
    script = Script("a", *[(1, "x" * 200)] * 3)
    events = await timeline(script, experience=experience, max_tokens=4000)
    assert [fraction for _, fraction, _ in told(events)] == [0.5, 0.75]


async def test_never_of_more_than_max_tokens(autojump_clock: MockClock) -> None:
    experience = known("a:a", 5000, 5000, 5000)
    script = Script("a", *[(1, "x" * 400)] * 2)
    events = await timeline(script, experience=experience, max_tokens=400)
    assert [fraction for _, fraction, _ in told(events)] == [0.5]


async def test_an_answer_that_is_longer_than_expected_is_nearly_whole_and_never_more(
    autojump_clock: MockClock,
) -> None:
    experience = known("a:a", 2, 2, 2)
    events = await timeline(Script("a", *[(1, "four")] * 5), experience=experience)
    assert [fraction for _, fraction, _ in told(events)] == [0.99] * 4


async def test_whole_answers_are_learned_from_and_no_others(autojump_clock: MockClock) -> None:
    experience = Experience()
    whole = Script("a", (1, "x" * 40), (1, Thought("y" * 20)))
    cut = Script("b", (1, "x" * 40), (1, Ending(finish_reason="length")))
    failed = Script("c", (1, "x" * 40), (1, ProviderError("truncated", "No more.")))
    for asked in range(3):
        assert experience.usual("a:a") is None, asked
        await timeline(whole, cut, failed, experience=experience)
    assert experience.usual("a:a") == 15
    assert experience.usual("b:b") is None
    assert experience.usual("c:c") is None


async def test_comparisons_of_one_service_learn_from_each_other(autojump_clock: MockClock) -> None:
    app = app_for(Script("a", *[(1, "x" * 400)] * 2))
    async with open_app(app):
        for _ in range(3):
            reply = await ask(app, "a:1", "a:2")
        learned = await ask(app, "a:1", "a:3")
    assert [
        sorted((e["model"], e["fraction"]) for e in legacy_events(body) if e["type"] == "progress")
        for body in (reply.body, learned.body)
    ] == [[("a:1", 0.05), ("a:2", 0.05)], [("a:1", 0.99), ("a:3", 0.05)]]


# --- what is remembered -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "usual"),
    [
        ((), None),
        ((5,), None),
        ((5, 7), None),
        ((9, 5, 7), 7),
        ((5, 7, 9, 90_000), 7),
        ((*[5] * 100, *[7] * 5), 7),
        ((*[5] * 100, *[7] * 4), 5),
        ((0, 0, 0), None),
    ],
)
def test_usually_is_the_middle_of_the_last_answers(
    lengths: tuple[int, ...], usual: int | None
) -> None:
    assert REMEMBERED == 9
    assert known("m", *lengths).usual("m") == usual


def test_what_is_remembered_is_bounded() -> None:
    experience = known("kept", 5, 5, 5)
    for number in range(MOST_MODELS - 1):
        experience.record(f"m{number}", 5)
    assert experience.usual("kept") == 5
    experience.record("kept", 5)
    for number in range(MOST_MODELS - 1):
        experience.record(f"n{number}", 5)
    assert experience.usual("kept") == 5
    experience.record("one more", 5)
    assert experience.usual("kept") is None


# --- what it costs ------------------------------------------------------------------------------


async def test_nobody_is_asked_between_two_events(autojump_clock: MockClock) -> None:
    asked = []

    def expected() -> int:
        asked.append(1)
        return 10

    prompt = Prompt(model="m", messages=(Message("user", "q"),), max_tokens=256)
    account = Account("a", prompt)
    account.text(("four",), 0)
    gauge = Gauge(account, expected)
    assert gauge.look(-math.inf) == (-math.inf, ())
    assert gauge.look(5) == (5.25, ())
    assert asked == []
    account.text(("four",), 0)
    assert gauge.look(5.25) == (5.5, (Progress(model="a", fraction=0.2, tokens=2),))
    assert gauge.look(9) == (9.25, (Progress(model="a", fraction=0.2, tokens=2),))
    assert asked == [1]


async def test_the_text_is_whole_however_often_progress_is_told(autojump_clock: MockClock) -> None:
    steps = [(0.25 * (n % 3), f"{n} ") for n in range(100)]
    events = await timeline(Script("a", *steps))
    text = "".join(e.content for _, e in events if isinstance(e, Chunk))
    assert text == "".join(f"{n} " for n in range(100))
    [done] = [e for _, e in events if isinstance(e, Done)]
    assert done.chunks == 100
