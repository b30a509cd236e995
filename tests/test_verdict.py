"""The verdict: what is concurrent, what only looks so, and what nobody can tell."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.verdict import Arrival, Verdict, describe, judge


@dataclass(frozen=True, slots=True)
class Script:
    """A model's behaviour once it is asked: seconds to its first chunk, then between chunks."""

    model: str
    first: float
    gaps: Sequence[float]
    fails: bool = False

    @property
    def lasts(self) -> float:
        return self.first + sum(self.gaps)

    def played_from(self, asked: float) -> list[Arrival]:
        moments = itertools.accumulate(self.gaps, initial=asked + self.first)
        if self.fails:
            text = chunk(self.model, "Error: Model not available")
            return [Arrival(asked + self.first, e) for e in (text, done(self.model, error=True))]
        written = [Arrival(moment, chunk(self.model)) for moment in moments]
        return [*written, Arrival(written[-1].seconds, done(self.model))]


def steady(model: str, *, first: float = 0.3, lasts: float = 2.0, chunks: int = 41) -> Script:
    return Script(model, first, [lasts / (chunks - 1)] * (chunks - 1))


def failing(model: str, *, after: float) -> Script:
    return Script(model, after, [], fails=True)


def start(model: str) -> dict[str, Any]:
    return {"model": model, "type": "start"}


def chunk(model: str, content: str = "word ") -> dict[str, Any]:
    return {"model": model, "type": "chunk", "content": content}


def done(model: str, *, error: bool = False) -> dict[str, Any]:
    return {"model": model, "type": "done", "error": error}


COMPLETE: Mapping[str, Any] = {"type": "complete", "metadata": {}}


def ended(stream: Sequence[Arrival]) -> list[Arrival]:
    """The stream as a client gets it: in order, one `complete` last."""
    ordered = sorted(stream, key=lambda arrival: arrival.seconds)
    return [*ordered, Arrival(ordered[-1].seconds, COMPLETE)]


def play(
    scripts: Sequence[Script], *, workers: int | None = None, starts_ahead: bool = True
) -> list[Arrival]:
    """What a server sends that runs so many models at a time; None: all at once."""
    free = [0.0] * (workers or len(scripts))
    stream = []
    for script in scripts:
        asked = heapq.heappop(free)
        stream.append(Arrival(0.0 if starts_ahead else asked, start(script.model)))
        stream += script.played_from(asked)
        heapq.heappush(free, asked + script.lasts)
    return ended(stream)


def held_back_until(moment: float, stream: Sequence[Arrival]) -> list[Arrival]:
    return [replace(arrival, seconds=max(arrival.seconds, moment)) for arrival in stream]


def reasons(verdict: Verdict) -> str:
    return "\n".join(verdict.reasons)


THREE = [
    steady("calm", first=0.4, lasts=3.6),
    steady("quick", first=0.1, lasts=1.5),
    steady("late", first=1.2, lasts=3.0),
]
ALIKE = [steady(name) for name in "ABC"]
NINE = [steady(name, lasts=2.0 + 0.1 * i) for i, name in enumerate("ABCDEFGHI")]


# --- honest servers ---


def test_models_that_write_at_once_are_concurrent() -> None:
    verdict = judge(play(THREE))
    assert verdict.concurrent
    assert verdict.word == "CONCURRENT"
    assert verdict.reasons == ()


def test_the_figures_of_a_concurrent_stream() -> None:
    verdict = judge(play([steady("A", lasts=1.7), steady("B", lasts=3.7)]))
    assert verdict.start_spread_seconds == 0
    assert verdict.models_among_first_chunks == 2
    assert verdict.wall_seconds == pytest.approx(4.0)
    assert verdict.slowest_seconds == pytest.approx(4.0)
    assert verdict.sum_seconds == pytest.approx(6.0)
    assert verdict.wall_over_slowest == pytest.approx(1.0)
    assert verdict.speedup == pytest.approx(1.5)
    assert (verdict.writers, verdict.at_once, verdict.in_a_row) == (2, 2, 1)
    assert verdict.rounds == 1


@pytest.mark.parametrize("models", range(2, 10))
def test_all_of_any_number_of_models_may_be_at_once(models: int) -> None:
    verdict = judge(play(NINE[:models]))
    assert verdict.concurrent
    assert verdict.at_once == models
    assert verdict.overlap is not None
    assert verdict.overlap > models * 0.8


def test_a_quick_answer_before_the_others_first_token_is_natural() -> None:
    quick = steady("quick", first=0.05, lasts=0.25)
    verdict = judge(play([quick, steady("B", first=1.0), steady("C", first=1.0)]))
    assert verdict.models_among_first_chunks == 1
    assert verdict.concurrent


def test_a_model_that_thinks_long_in_silence_is_natural() -> None:
    mini = steady("mini", first=0.9, lasts=1.1)
    others = [steady("flash", lasts=0.5), mini, steady("A", lasts=4.5), steady("B", lasts=5.4)]
    assert judge(play([*others, steady("thinker", first=8.0, lasts=4.0)])).concurrent


def test_thinking_aloud_is_writing() -> None:
    stream = play([steady("A"), steady("thinker", first=5.0)])
    assert not judge(stream).concurrent
    aloud = {"model": "thinker", "type": "reasoning", "content": "hm "}
    stream += [Arrival(0.5 + 0.1 * i, aloud) for i in range(45)]
    assert judge(sorted(stream, key=lambda arrival: arrival.seconds)).concurrent


def test_chunks_that_come_in_gusts_are_still_concurrent() -> None:
    gusts = [replace(a, seconds=-(-a.seconds // 0.5) * 0.5) for a in play(ALIKE)]
    assert judge(gusts).concurrent


def test_starts_half_a_second_apart_are_still_together() -> None:
    def verdict(late: float) -> Verdict:
        second = [Arrival(late, start("B")), *steady("B").played_from(late)]
        return judge(ended([Arrival(0, start("A")), *steady("A").played_from(0), *second]))

    assert verdict(0.5).concurrent
    assert verdict(0.51).word == "SEQUENTIAL"


# --- servers that run one model after another ---


def test_starts_just_in_time_are_sequential() -> None:
    verdict = judge(play(THREE, workers=1, starts_ahead=False))
    assert verdict.word == "SEQUENTIAL"
    assert verdict.wall_seconds == pytest.approx(verdict.sum_seconds)
    assert verdict.speedup == pytest.approx(1)
    assert verdict.overlap == 1
    assert "The last model started 5.60 s after the first" in reasons(verdict)


def test_starts_sent_ahead_do_not_make_a_sequential_server_concurrent() -> None:
    verdict = judge(play(THREE, workers=1))
    assert verdict.wall_over_slowest == 1
    assert verdict.word == "SEQUENTIAL"
    assert verdict.reasons[0].startswith(
        "No two models wrote at the same time: calm, then quick, then late."
    )
    assert verdict.reasons[1].startswith("The first 20 chunks are all of calm")


@pytest.mark.parametrize("starts_ahead", [True, False])
def test_short_answers_one_after_another_are_not_interleaved(starts_ahead: bool) -> None:
    short = [steady(name, first=0.02, lasts=0.12, chunks=5) for name in "ABC"]
    verdict = judge(play(short, workers=1, starts_ahead=starts_ahead))
    assert verdict.models_among_first_chunks == 3
    assert verdict.word == "SEQUENTIAL"
    assert len(verdict.reasons) == 1


def test_answers_that_touch_within_one_burst_are_not_at_once() -> None:
    first, second = steady("A", lasts=1.0, chunks=9), steady("B", first=0.0, lasts=1.0, chunks=9)
    stream = [Arrival(0, start("A")), Arrival(0, start("B")), *first.played_from(0)]
    assert judge(ended([*stream, *second.played_from(1.26)])).word == "SEQUENTIAL"
    assert judge(ended([*stream, *second.played_from(1.24)])).concurrent


def test_one_long_answer_does_not_hide_that_the_others_waited() -> None:
    scripts = [steady("long", lasts=20.0), steady("B", lasts=0.5), steady("C", lasts=0.5)]
    assert judge(play(scripts, workers=1)).word == "SEQUENTIAL"


@pytest.mark.parametrize("content", ["Thinking", " ", ""])
def test_a_greeting_from_every_model_ahead_does_not_count_as_writing(content: str) -> None:
    greetings = [Arrival(0.0, chunk(s.model, content)) for s in THREE]
    stream = play(THREE, workers=1)
    assert judge([*stream[:3], *greetings, *stream[3:]]).word == "SEQUENTIAL"


# --- servers that run some at a time ---


@pytest.mark.parametrize("starts_ahead", [True, False])
def test_nine_models_two_at_a_time_are_sequential(starts_ahead: bool) -> None:
    verdict = judge(play(NINE, workers=2, starts_ahead=starts_ahead))
    assert verdict.at_once == 2
    assert verdict.word == "SEQUENTIAL"
    assert "At most 2 of 9 models wrote at once" in reasons(verdict)


@pytest.mark.parametrize(("models", "workers"), [(3, 2), (4, 2), (9, 3), (9, 4), (9, 5), (9, 8)])
def test_two_rounds_or_more_of_equal_answers_are_sequential(models: int, workers: int) -> None:
    equal = [steady(name) for name in "ABCDEFGHI"[:models]]
    assert judge(play(equal, workers=workers)).word == "SEQUENTIAL"


def test_a_queue_beside_one_long_answer_is_seen() -> None:
    scripts = [steady("long", lasts=20.0), *(steady(name, lasts=1.0) for name in "BCDEFGHI")]
    verdict = judge(play(scripts, workers=2))
    assert verdict.rounds is not None
    assert verdict.rounds < 1.1
    assert verdict.word == "SEQUENTIAL"
    assert "8 of 9 models wrote one after another" in reasons(verdict)


# --- models that say nothing, for or against ---


def test_a_model_that_fails_at_once_does_not_make_a_server_sequential() -> None:
    verdict = judge(play([failing("broken", after=0.05), *THREE]))
    assert verdict.concurrent
    assert [line.error for line in verdict.models] == [True, False, False, False]


def test_a_model_that_times_out_after_the_others_does_not_count_for_the_clocks() -> None:
    verdict = judge(play([*THREE, failing("silent", after=30.0)]))
    assert verdict.concurrent
    assert verdict.slowest_seconds == pytest.approx(4.2)


def test_a_model_that_fails_at_once_does_not_save_a_sequential_server() -> None:
    verdict = judge(play([failing("broken", after=0.05), *THREE], workers=1))
    assert verdict.word == "SEQUENTIAL"


@pytest.mark.parametrize(
    "scripts",
    [
        [steady("A")],
        [steady("A"), failing("B", after=0.1)],
        [steady("A"), Script("B", 1.0, [])],
        [Script("A", 1.0, []), Script("B", 2.0, [])],
        [Script("A", 1.0, [0.001] * 20), Script("B", 2.0, [0.001] * 20)],
    ],
    ids=["one model", "the other fails", "one piece", "two pieces", "each held back to its end"],
)
def test_fewer_than_two_models_that_write_cannot_be_judged(scripts: list[Script]) -> None:
    verdict = judge(play(scripts))
    assert verdict.word == "UNDECIDED"
    assert not verdict.concurrent
    assert len(verdict.reasons) == 1
    assert "needs two models that write" in reasons(verdict)


def test_late_starts_are_evidence_even_when_each_answer_comes_in_one_piece() -> None:
    pieces = [Script("A", 1.0, []), Script("B", 1.0, [])]
    verdict = judge(play(pieces, workers=1, starts_ahead=False))
    assert verdict.word == "SEQUENTIAL"


# --- evidence that is missing ---


@pytest.mark.parametrize("workers", [1, None])
def test_a_stream_held_back_to_its_end_is_not_concurrent_for_its_client(
    workers: int | None,
) -> None:
    verdict = judge(held_back_until(9.5, play(THREE, workers=workers)))
    assert verdict.word == "UNDECIDED"
    [reason] = verdict.reasons
    assert reason.startswith("All text arrived within ")
    assert "not concurrent as far as a client can see" in reason


def test_a_held_back_stream_may_take_a_moment_to_come_through() -> None:
    stream = held_back_until(10.0, play(THREE))
    slow = [replace(a, seconds=a.seconds + 0.003 * i) for i, a in enumerate(stream)]
    assert "All text arrived within" in reasons(judge(slow))


def test_a_stream_without_complete_was_cut() -> None:
    verdict = judge(play(THREE)[:-1])
    assert verdict.word == "UNDECIDED"
    assert verdict.reasons[0].startswith("The stream was cut: it ended without 'complete';")


def test_a_model_without_done_was_cut() -> None:
    verdict = judge([a for a in play(THREE) if a.event != done("late")])
    assert verdict.word == "UNDECIDED"
    assert "without 'done' of late;" in reasons(verdict)


def test_no_cut_stream_is_concurrent() -> None:
    stream = play(THREE)
    assert not any(judge(stream[:end]).concurrent for end in range(len(stream)))


def test_a_model_without_start_leaves_a_gap() -> None:
    verdict = judge([a for a in play(THREE) if a.event != start("quick")])
    assert verdict.word == "UNDECIDED"
    assert reasons(verdict).startswith("No 'start' came for quick")


# --- strangers ---


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "queued", "model": "calm", "ahead": 1},
        {"type": "error", "message": "?"},
        {"type": ["chunk"], "model": "calm"},
        {"type": "chunk", "model": ["calm"], "content": "x"},
        {"type": "chunk", "model": "calm", "content": None},
        {"type": "chunk", "content": "x"},
    ],
)
def test_events_of_an_unknown_kind_or_shape_are_passed_over(event: dict[str, Any]) -> None:
    stream = play(THREE)
    assert judge([Arrival(0, event), *stream]) == judge(stream)


# --- for people and programs ---


def test_the_verdict_is_plain_values_for_json() -> None:
    told = json.loads(json.dumps(judge(play(THREE)).to_dict()))
    assert (told["concurrent"], told["word"], told["reasons"]) == (True, "CONCURRENT", [])
    assert told["models"][1]["model"] == "quick"
    assert told["models"][1]["chunks"] == 41


def test_a_concurrent_verdict_in_words() -> None:
    scripts = [steady("calm", lasts=1.7), steady("sim:quick", lasts=3.7)]
    assert describe(judge(play([*scripts, failing("bad", after=0.1)]))).splitlines() == [
        "model       start  first chunk     end  chunks",
        "calm       0.00 s       0.30 s  2.00 s      41",
        "sim:quick  0.00 s       0.30 s  4.00 s      41",
        "bad        0.00 s       0.10 s  0.10 s       1  failed",
        "",
        "starts           0.00 s apart",
        "first 20 chunks  from 2 models",
        "writing          2 of 2 models at once, 1 in a row, overlap 1.4x, 1.0x the longest turn",
        "wall clock       4.00 s, 1.0x the slowest (4.00 s), start to end added up 6.00 s",
        "",
        "CONCURRENT: 2 models in 4.00 s, slowest 4.00 s, one after another 6.00 s (1.5x faster)",
    ]


def test_a_failed_verdict_gives_its_reasons_one_a_line() -> None:
    verdict = judge(play(THREE, workers=1, starts_ahead=False))
    *_, word, late, row, first = describe(verdict).splitlines()
    assert word == "SEQUENTIAL: 3 models in 9.80 s"
    assert [f"- {reason}" for reason in verdict.reasons] == [late, row, first]


def test_nothing_at_all_can_be_described() -> None:
    assert "UNDECIDED: 0 models in -" in describe(judge([]))


def test_a_model_name_cannot_command_the_terminal() -> None:
    told = describe(judge(play([steady("\x1b[2Jevil\n"), steady("B")], workers=1)))
    assert "\x1b" not in told
    assert "\ufffd[2Jevil\ufffd" in told


# --- any set of well-behaved models ---


@st.composite
def well_behaved(draw: st.DrawFn) -> list[Script]:
    """Two to nine models; late by 0.3 s at most, with answers that take 1.5 to 3 s."""
    scripts = []
    for name in "ABCDEFGHI"[: draw(st.integers(2, 9))]:
        uneven = draw(st.lists(st.floats(0.8, 1.2), min_size=4, max_size=60))
        lasts = draw(st.floats(1.5, 3.0))
        gaps = [gap * lasts / sum(uneven) for gap in uneven]
        scripts.append(Script(name, draw(st.floats(0, 0.3)), gaps))
    return scripts


@given(well_behaved(), st.lists(st.floats(0, 0.3), min_size=9, max_size=9))
def test_any_models_run_at_once_are_concurrent(scripts: list[Script], late: list[float]) -> None:
    stream: list[Arrival] = []
    for script, asked in zip(scripts, late, strict=False):
        stream += [Arrival(asked, start(script.model)), *script.played_from(asked)]
    verdict = judge(ended(stream))
    assert verdict.word == "CONCURRENT", verdict.reasons


@given(well_behaved(), st.booleans())
def test_any_models_run_one_after_another_are_sequential(
    scripts: list[Script], starts_ahead: bool
) -> None:
    verdict = judge(play(scripts, workers=1, starts_ahead=starts_ahead))
    assert verdict.word == "SEQUENTIAL"
    assert verdict.overlap == pytest.approx(1)


@given(well_behaved().filter(lambda scripts: len(scripts) >= 6), st.booleans())
def test_any_six_models_or_more_run_two_at_a_time_are_sequential(
    scripts: list[Script], starts_ahead: bool
) -> None:
    assert judge(play(scripts, workers=2, starts_ahead=starts_ahead)).word == "SEQUENTIAL"
