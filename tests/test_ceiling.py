"""How the number of requests at once is learned; no provider and no clock but the numbers given."""

from __future__ import annotations

import pytest

from service.limiter.ceiling import WALL_SECONDS, Ceiling
from service.limiter.latency import REMEMBERED, Latency


def burst(
    ceiling: Ceiling, *, sent: int, taken: int, now: float = 0, answered: int | None = None
) -> None:
    """So many were sent at once, and the provider takes fewer: the rest is refused, one by one.

    All that are taken are being `answered` by then, unless it is said how many are.
    """
    window = ceiling.window
    begun = taken if answered is None else answered
    for running in range(sent, taken, -1):
        ceiling.refused(running, window, now, answered=begun, unanswered=running - begun - 1)


def answered(ceiling: Ceiling, count: int, *, now: float = 0) -> None:
    for _ in range(count):
        ceiling.whole(ceiling.limit, now)


def test_it_starts_at_what_the_operator_says() -> None:
    assert Ceiling(9).limit == 9


def test_a_burst_tells_how_many_the_provider_took() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    assert ceiling.limit == 5


def test_a_share_is_taken_off_once_for_each_burst_and_not_for_each_refusal() -> None:
    ceiling = Ceiling(9)
    window = ceiling.window
    limits = []
    for _ in range(3):
        ceiling.refused(9, window, 0, answered=4)
        limits.append(ceiling.limit)
    assert limits == [6, 6, 6]
    assert ceiling.window == window + 1


def test_what_a_burst_tells_is_counted_from_its_beginning_however_few_run_later() -> None:
    ceiling = Ceiling(9)
    window = ceiling.window
    for running in (9, 4, 1, 1):  # answers end meanwhile
        ceiling.refused(running, window, 0, answered=5)
    assert ceiling.limit == 5
    answered(ceiling, 100, now=WALL_SECONDS - 0.001)
    assert ceiling.limit == 5  # and six is the wall, not two


def test_a_burst_never_takes_more_than_half_of_what_ran_well() -> None:
    ceiling = Ceiling(40)
    for n in range(1, 21):
        ceiling.taken(n)
    window = ceiling.window
    for _ in range(20):
        ceiling.refused(3, window, 0, answered=1)
    assert ceiling.limit == 10


def test_a_new_burst_takes_off_a_new_share() -> None:
    ceiling = Ceiling(9)
    ceiling.refused(9, ceiling.window, 0, answered=5)
    ceiling.refused(6, ceiling.window, 0, answered=5)
    assert ceiling.limit == 4


def test_one_refusal_of_a_few_does_not_take_all_places_away() -> None:
    ceiling = Ceiling(40)
    burst(ceiling, sent=3, taken=2)
    assert ceiling.limit == 4


def test_who_is_refused_alone_tells_nothing_of_how_many() -> None:
    ceiling = Ceiling(40)
    for _ in range(9):
        burst(ceiling, sent=1, taken=0)
    assert ceiling.limit == 40


def test_a_burst_in_which_all_are_refused_is_taken_back() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    answered(ceiling, 5, now=WALL_SECONDS)
    assert ceiling.limit == 6
    for _ in range(3):
        window = ceiling.window
        limits = []
        for running in range(6, 0, -1):
            ceiling.refused(running, window, WALL_SECONDS, unanswered=running - 1)
            limits.append(ceiling.limit)
        assert limits == [4, 4, 3, 3, 3, 6]
    answered(ceiling, 6, now=WALL_SECONDS)
    assert ceiling.limit == 7  # the wall is where it was


def test_those_that_were_asked_together_and_are_answered_are_taken() -> None:
    ceiling = Ceiling(40)
    ceiling.refused(9, ceiling.window, 0, answered=8, together=8)
    assert ceiling.limit == 8
    ceiling.refused(9, ceiling.window, 0, answered=8, together=2)  # six run from before
    assert ceiling.limit == 5


def test_as_many_as_are_answered_at_once_are_taken() -> None:
    ceiling = Ceiling(40)
    ceiling.refused(9, ceiling.window, 0, unanswered=8)  # one of nine, and it is the only one
    limits = []
    for n in range(1, 9):
        ceiling.taken(n)
        limits.append(ceiling.limit)
    assert limits == [6] * 6 + [7, 8]


def test_answers_that_are_kept_waiting_are_no_proof_of_being_taken_well() -> None:
    ceiling = Ceiling(9)
    for n in range(1, 10):
        ceiling.taken(n)
    ceiling.late(9, ceiling.window)
    assert not ceiling.taken(9)
    assert ceiling.limit == 8


def test_what_is_explained_otherwise_lowers_nothing_nor_does_what_was_asked_with_it() -> None:
    ceiling = Ceiling(9)
    window = ceiling.window
    ceiling.explained()
    for _ in range(5):
        assert not ceiling.refused(5, window, 0, answered=3)
    assert ceiling.limit == 9
    assert ceiling.refused(5, ceiling.window, 0, answered=3)


def test_a_high_ceiling_is_no_knowledge_what_ran_is() -> None:
    ceiling = Ceiling(20_000)
    burst(ceiling, sent=100, taken=99)
    assert ceiling.limit == 70


def test_there_is_always_one_place() -> None:
    ceiling = Ceiling(3)
    for _ in range(9):
        ceiling.refused(2, ceiling.window, 0, answered=1)
        ceiling.late(1, ceiling.window)
    assert ceiling.limit == 1


def test_it_goes_up_by_one_for_a_window_of_whole_answers() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    limits = []
    for _ in range(13):
        ceiling.whole(ceiling.limit, WALL_SECONDS)
        limits.append(ceiling.limit)
    assert limits == [5] * 4 + [6] * 6 + [7] * 3


def test_it_does_not_go_up_when_there_were_free_places() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    for _ in range(100):
        ceiling.whole(4, WALL_SECONDS)
    assert ceiling.limit == 5


def test_it_never_goes_over_its_ceiling() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    answered(ceiling, 1000, now=WALL_SECONDS)
    assert ceiling.limit == 9


def test_the_number_that_was_refused_is_not_touched_again_for_a_while() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    answered(ceiling, 100, now=WALL_SECONDS - 0.001)
    assert ceiling.limit == 5
    answered(ceiling, 1, now=WALL_SECONDS)
    assert ceiling.limit == 6


def test_up_to_that_number_it_goes_at_once() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    answered(ceiling, 5, now=WALL_SECONDS)
    ceiling.refused(6, ceiling.window, WALL_SECONDS, answered=5)
    assert ceiling.limit == 4
    answered(ceiling, 100, now=WALL_SECONDS)
    assert ceiling.limit == 5


def test_being_late_takes_off_less_and_only_when_the_places_are_used() -> None:
    ceiling = Ceiling(9)
    assert not ceiling.late(4, ceiling.window)
    assert ceiling.limit == 9
    window = ceiling.window
    assert ceiling.late(5, window)
    assert ceiling.limit == 8
    assert not ceiling.late(9, window)  # the same news
    assert ceiling.limit == 8


# --- late, and how late ---


def grown(latency: Latency, model: str, seconds: float) -> bool:
    latency.note(model, seconds)
    return latency.has_grown()


def late_after(latency: Latency, seconds: float, *, model: str = "m", most: int = 1000) -> int:
    """After how many answers that begin so late it is noticed; `most`: it was not."""
    return next((n for n in range(1, most) if grown(latency, model, seconds)), most)


def usual(seconds: float, *models: str) -> Latency:
    latency = Latency()
    for _ in range(20):
        for model in models or ("m",):
            assert not grown(latency, model, seconds)
    return latency


@pytest.mark.parametrize(
    ("before", "after", "noticed"),
    [
        pytest.param(1, 1.9, 1000, id="within what is tolerated"),
        pytest.param(1, 4, 4, id="four times as late: after a few"),
        pytest.param(1, 100, 2, id="never by a single answer, however late"),
        pytest.param(0.001, 0.2, 1000, id="not worth noticing"),
        pytest.param(0, 1, 2, id="from nothing"),
    ],
)
def test_growth_is_noticed_when_it_is_no_accident(
    before: float, after: float, noticed: int
) -> None:
    assert late_after(usual(before), after) == noticed


def test_each_model_has_its_own_usual_time() -> None:
    latency = Latency()
    for _ in range(100):
        assert not grown(latency, "quick", 0.5)
        assert not grown(latency, "thinker", 30)


def test_all_models_of_a_provider_stand_in_its_queue() -> None:
    latency = usual(1, "a", "b", "c", "d")
    assert [grown(latency, model, 4) for model in "abcd"] == [False, False, False, True]


def test_what_stays_becomes_usual() -> None:
    latency = usual(1)
    noticed = [n for n in range(1000) if grown(latency, "m", 3)]
    assert noticed
    assert noticed[-1] < 100


def test_it_remembers_a_bounded_number_of_models() -> None:
    latency = Latency()
    for n in range(3 * REMEMBERED):
        grown(latency, f"m{n}", 1)
    assert len(latency._baselines) == REMEMBERED


def test_a_late_answer_is_told_from_one_in_time() -> None:
    latency = usual(1)
    assert [latency.note("m", seconds) for seconds in (1, 1.5, 3, 1)] == [False, False, True, False]


# --- the operator changes their mind ------------------------------------------------------------


def test_what_nobody_has_learned_about_is_believed_anew() -> None:
    ceiling = Ceiling(9)
    ceiling.allow(20)
    assert ceiling.limit == 20
    ceiling.allow(4)
    assert ceiling.limit == 4


def test_what_was_learned_stays_below_a_higher_ceiling_and_goes_up_to_it() -> None:
    ceiling = Ceiling(9)
    burst(ceiling, sent=9, taken=5)
    ceiling.allow(20)
    assert ceiling.limit == 5
    for _ in range(20):
        answered(ceiling, ceiling.limit, now=WALL_SECONDS)
    assert ceiling.limit == 20


def test_no_news_of_before_lifts_the_limit_above_a_lower_ceiling() -> None:
    ceiling = Ceiling(9)
    window = ceiling.window
    ceiling.refused(9, window, 0, answered=8)
    ceiling.allow(3)
    # All of the burst were refused, as it turns out: it told nothing of how many.
    ceiling.refused(9, window, 0)
    assert ceiling.limit == 3
    ceiling.taken(8)
    assert ceiling.limit == 3


def test_a_burst_that_told_nothing_is_taken_back_up_to_the_ceiling_of_now() -> None:
    ceiling = Ceiling(9)
    window = ceiling.window
    for running in (9, 8, 7):
        ceiling.refused(running, window, 0, unanswered=running - 1)
    ceiling.allow(4)
    ceiling.refused(1, window, 0)
    assert ceiling.limit == 4
