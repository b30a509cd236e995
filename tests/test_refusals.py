"""Refusals that are about one model, and places that were given again too early."""

from __future__ import annotations

from service.limiter.refusals import REMEMBERED, RESTS, RESTS_FOR, Refused, Rest


def test_a_model_that_is_refused_again_while_others_are_answered_is_refused_for_itself() -> None:
    refused = Refused()
    assert not refused.again("free")
    assert not refused.again("free")  # nobody was answered: it may be all of them
    refused.answered("other")
    assert refused.again("free")
    assert refused.again("free")  # until it is answered


def test_a_model_that_is_answered_begins_anew() -> None:
    refused = Refused()
    refused.again("m")
    refused.answered("m")
    refused.answered("other")
    assert not refused.again("m")


def test_it_remembers_a_bounded_number_of_models() -> None:
    refused = Refused()
    for n in range(3 * REMEMBERED):
        refused.again(f"m{n}")
    assert len(refused._since) == REMEMBERED
    refused.answered("other")
    assert not refused.again("m0")
    assert refused.again(f"m{3 * REMEMBERED - 1}")


def test_a_place_rests_longer_when_it_was_given_again_too_early() -> None:
    rest = Rest()
    rests = [rest.seconds(0)]
    for _ in range(2):
        assert rest.is_too_short(0.001, now=0)
        rests.append(rest.seconds(0))
    assert rests == [0, 0.05, 0.15]
    assert not rest.is_too_short(0.001, now=0)  # what takes longer is no lag
    assert rest.seconds(0) == 0.15


def test_a_refusal_long_after_a_place_was_given_back_is_about_something_else() -> None:
    rest = Rest()
    assert not rest.is_too_short(RESTS[-1], now=0)
    assert rest.seconds(0) == 0


def test_a_rest_that_nothing_asks_for_any_more_becomes_shorter() -> None:
    rest = Rest()
    rest.is_too_short(0, now=0)
    rest.is_too_short(0, now=1)
    times = (RESTS_FOR, RESTS_FOR + 1, 2 * RESTS_FOR, 2 * RESTS_FOR + 1, 9 * RESTS_FOR)
    assert [rest.seconds(now) for now in times] == [0.15, 0.05, 0.05, 0, 0]
