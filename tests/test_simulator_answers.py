"""The simulated models: who they are, what they write and when. No sockets and no clock."""

from __future__ import annotations

import ast
import itertools
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.simulator import MODELS, Temperament, temperament_for
from service.simulator.answering import Answer, compose, timetable, whole
from service.simulator.dialect import DONE, PROCESSING, ChatRequest, Envelope, parse_request
from service.simulator.writing import excerpt_of, split

PROMPT = "How does a café keep its queue short — and its guests happy?"
WELL_BEHAVED = [model for model in MODELS if model.well_behaved]
PROMPT_ONES = [m for m in WELL_BEHAVED if m.id not in ("sim:thinker", "sim:careful")]
ALL_BUT_FLOODS = [model for model in MODELS if model.misbehaviour not in ("floods", "refuses")]

well_behaved = pytest.mark.parametrize("model", WELL_BEHAVED, ids=lambda model: model.id)


def request(model: str, prompt: str = PROMPT, **fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": prompt}]
    return msgspec.convert({"model": model, "messages": messages, **fields}, ChatRequest)


def answer(model: str, prompt: str = PROMPT, *, seed: int = 0, **fields: Any) -> Answer:
    temperament = temperament_for(model)
    assert temperament is not None
    return compose(request(model, prompt, **fields), temperament, seed=seed)


def text_of(answer: Answer) -> str:
    return "".join(answer.text)


def cues_of(answer: Answer) -> list[tuple[float, Any]]:
    """The timetable, its events decoded; comments and the marker as they are."""
    envelope = Envelope(id="gen-1", created=1, model=answer.model)
    return [
        (due, msgspec.json.decode(data[6:]) if data.startswith(b"data: {") else data)
        for due, data in timetable(answer, envelope)
    ]


# Who they are.


def test_nine_or_more_well_behaved_models_come_first_and_the_others_last() -> None:
    behaviour = [model.well_behaved for model in MODELS]
    assert behaviour == sorted(behaviour, reverse=True)
    assert sum(behaviour) >= 9
    faults = [model.misbehaviour for model in MODELS if not model.well_behaved]
    assert faults == ["fails", "stalls", "floods", "truncates", "refuses"]


def test_the_temperaments_are_really_different() -> None:
    assert len({model.id for model in MODELS}) == len(MODELS)
    assert len({model.description for model in MODELS}) == len(MODELS)
    rhythms = {(m.first_token_seconds, m.tokens_per_second, m.burst) for m in WELL_BEHAVED}
    assert len(rhythms) == len(WELL_BEHAVED)
    assert sum(model.reasons for model in WELL_BEHAVED) >= 1
    endings = sorted(answer(model.id).duration for model in WELL_BEHAVED)
    assert all(later > sooner for sooner, later in itertools.pairwise(endings))


@well_behaved
def test_a_demonstration_takes_seconds_not_minutes(model: Temperament) -> None:
    answers = [answer(model.id, f"Question number {n}?") for n in range(50)]
    assert all(1.5 <= each.duration <= 6 for each in answers)
    assert all(len(each.text) >= model.length[0] for each in answers)


def test_a_bare_id_keeps_its_temperament_from_one_run_to_the_next() -> None:
    bare = ["google/gemini-2.0-flash-exp:free", "openai/gpt-4o-mini", "x"]
    drawn = [temperament_for(model) for model in bare]
    assert [each.id for each in drawn if each] == ["sim:polyglot", "sim:rambler", "sim:rambler"]


def test_bare_ids_are_played_by_all_of_the_prompt_models_and_by_no_other() -> None:
    drawn = {temperament_for(f"maker/model-{n}") for n in range(500)}
    assert drawn == set(PROMPT_ONES)


def test_an_id_that_claims_to_be_ours_and_is_not_has_no_temperament() -> None:
    assert temperament_for("sim:nobody") is None
    assert temperament_for("sim:") is None


# What they write.


@pytest.mark.parametrize("model", [m.id for m in ALL_BUT_FLOODS] + ["maker/model-1.5:free"])
def test_the_first_sentence_says_that_it_is_simulated_and_by_whom(model: str) -> None:
    first_sentence = re.split(r"(?<=[.🌊🌍☕])\s", text_of(answer(model)))[0]
    assert "simulated" in first_sentence.lower()
    assert model in first_sentence


def test_thinking_says_that_it_is_simulated_too() -> None:
    assert "".join(answer("sim:thinker").thoughts).startswith("This is simulated thinking")


@pytest.mark.parametrize("model", [m.id for m in ALL_BUT_FLOODS] + ["maker/model"])
def test_the_same_question_gets_the_same_answer(model: str) -> None:
    assert answer(model, seed=3) == answer(model, seed=3)


def test_another_question_model_or_seed_gets_another_answer() -> None:
    plain = text_of(answer("sim:swift"))
    assert plain != text_of(answer("sim:swift", "Something else entirely?"))
    assert plain != text_of(answer("sim:swift", seed=1))
    drawn = {text_of(answer(f"maker/model-{n}")) for n in range(20)}
    assert len(drawn) == 20


def test_the_last_user_message_is_the_prompt() -> None:
    messages = [
        {"role": "user", "content": "Something older"},
        {"role": "assistant", "content": "An answer"},
        {"role": "user", "content": [{"type": "text", "text": PROMPT}, {"type": "image_url"}]},
        {"role": "system", "content": "Be kind"},
    ]
    body = msgspec.json.encode({"model": "sim:swift", "messages": messages})
    assert parse_request(body).prompt == PROMPT


@pytest.mark.parametrize("model", [m.id for m in ALL_BUT_FLOODS])
def test_every_answer_refers_to_the_prompt_and_leaves_ascii(model: str) -> None:
    text = text_of(answer(model))
    assert "“How does a café keep its queue short — and its guests happy?”" in text
    assert not text.isascii()


def test_a_thinker_thinks_first_and_its_thoughts_count_as_tokens() -> None:
    thinker = answer("sim:thinker")
    assert len(thinker.thoughts) >= 100
    assert thinker.usage.reasoning_tokens == len(thinker.thoughts)
    assert thinker.usage.completion_tokens == len(thinker.thoughts) + len(thinker.text)
    deltas = [cue["choices"][0]["delta"] for _, cue in cues_of(thinker) if isinstance(cue, dict)]
    kinds = ["reasoning" if "reasoning" in delta else "content" for delta in deltas]
    assert kinds == sorted(kinds, reverse=True)


def test_a_coder_writes_programs_that_compile() -> None:
    programs = re.findall(r"```python\n(.*?)```", text_of(answer("sim:coder")), re.DOTALL)
    assert programs
    for program in programs:
        ast.parse(program)


def test_an_analyst_writes_whole_tables() -> None:
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text_of(answer("sim:analyst")), re.MULTILINE)
    assert tables
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_polyglot_leaves_the_latin_script() -> None:
    assert re.search(r"[\u4e00-\u9fff]", text_of(answer("sim:polyglot")))


@given(st.text())
def test_pieces_add_up_to_the_text(text: str) -> None:
    assert "".join(split(text)) == text
    assert all(split(text))


def test_pieces_are_like_tokens() -> None:
    assert split("Nobody knows, naïvely:\n\n- 一歩 🙂") == [
        "Nobody", " knows", ",", " naïvely", ":", "\n\n", "-", " 一歩", " 🙂",
    ]  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_prompt_can_be_quoted_in_a_line_of_markdown(prompt: str) -> None:
    excerpt = excerpt_of(prompt)
    assert len(excerpt) <= 61
    assert excerpt.isprintable()
    assert not set(excerpt) & set('`*_~<>[]{}|#\\&$"“”')
    assert text_of(answer("sim:steady", prompt)).count("\n\n## ") >= 1


def test_a_long_prompt_is_quoted_up_to_the_last_word_that_fits() -> None:
    assert excerpt_of("word " * 100_000) == "word " * 11 + "word…"
    assert excerpt_of("長" * 100) == "長" * 60 + "…"


def test_a_prompt_with_nothing_to_quote_is_answered_too() -> None:
    assert "nothing in particular" in text_of(answer("sim:swift", "```\n***\u202e"))


# How much.


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@well_behaved
def test_a_limit_cuts_the_same_text_and_is_given_as_the_reason(
    model: Temperament, field: str
) -> None:
    unlimited = answer(model.id)
    for limit in (1, 7, len(unlimited) - 1):
        limited = answer(model.id, PROMPT, **{field: limit})
        assert limited.ending == "length"
        assert len(limited) == limit
        written = unlimited.thoughts + unlimited.text
        assert limited.thoughts + limited.text == written[:limit]
    for limit in (len(unlimited), len(unlimited) + 1, 10**30):
        assert answer(model.id, PROMPT, **{field: limit}) == unlimited
    assert unlimited.ending == "stop"


def test_the_newer_name_of_the_limit_wins() -> None:
    assert len(answer("sim:swift", max_tokens=9, max_completion_tokens=5)) == 5


def test_a_flood_is_bounded_by_the_limit_alone() -> None:
    flood = answer("sim:floods", max_tokens=2000)
    assert len(flood) == 2000
    assert flood.ending == "length"
    assert len(answer("sim:floods")) >= 40_000


@pytest.mark.parametrize("fault", ["fails", "stalls", "truncates"])
def test_a_breakdown_comes_in_mid_sentence_and_never_past_the_limit(fault: str) -> None:
    assert len(answer(f"sim:{fault}")) == 60
    assert not text_of(answer(f"sim:{fault}")).endswith((".", "\n"))
    assert len(answer(f"sim:{fault}", max_tokens=5)) == 5


# When.


def test_every_piece_has_a_time_of_its_own() -> None:
    steady = answer("sim:steady")
    model = steady.temperament
    pieces = [
        (due, cue["choices"][0]["delta"]["content"])
        for due, cue in cues_of(steady)
        if isinstance(cue, dict) and cue["choices"][0]["finish_reason"] is None
    ]
    first, rate = model.first_token_seconds, model.tokens_per_second
    assert pieces == [(first + n / rate, text) for n, text in enumerate(steady.text)]


def test_bursts_keep_the_average_rate() -> None:
    bursty = answer("sim:bursty")
    times = [bursty.due(n) for n in range(36)]
    assert times == [0.32] * 12 + [0.32 + 12 / 90] * 12 + [0.32 + 24 / 90] * 12


def test_the_wait_for_the_first_token_is_filled_with_comments() -> None:
    careful = cues_of(answer("sim:careful"))
    assert [(due, cue) for due, cue in careful if cue == PROCESSING] == [
        (0, PROCESSING),
        (1, PROCESSING),
    ]
    assert careful[2][0] == 1.5


def test_speed_divides_every_delay() -> None:
    model = WELL_BEHAVED[0]
    slow = compose(request(model.id), model, speed=1)
    fast = compose(request(model.id), model, speed=4)
    envelope = Envelope(id="gen-1", created=1, model=model.id)
    assert list(timetable(fast, envelope)) == [
        (due / 4, data) for due, data in timetable(slow, envelope)
    ]


# How they end.


def test_an_answer_ends_with_a_reason_the_accounts_and_the_marker() -> None:
    steady = answer("sim:steady", max_tokens=50)
    (*_, (_, finish), (_, accounts), (end, marker)) = cues_of(steady)
    assert marker == DONE
    assert end == steady.due(49)
    assert [choice["finish_reason"] for choice in finish["choices"]] == ["length"]
    assert [choice["finish_reason"] for choice in accounts["choices"]] == ["length"]
    assert accounts["usage"] == {
        "prompt_tokens": 15,
        "completion_tokens": 50,
        "total_tokens": 65,
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": 0,
    }


def test_a_failure_is_an_event_with_the_error_beside_its_choice() -> None:
    _, last = cues_of(answer("sim:fails"))[-1]
    assert last["error"]["code"] == 502
    assert last["error"]["metadata"] == {"error_type": "provider_unavailable"}
    assert last["choices"][0]["finish_reason"] == "error"


def test_a_stall_has_nothing_more_to_say_until_the_end_of_time() -> None:
    assert cues_of(answer("sim:stalls"))[-1] == (math.inf, b"")
    assert answer("sim:stalls").duration == math.inf


def test_a_truncated_answer_ends_with_a_piece_like_any_other() -> None:
    _, last = cues_of(answer("sim:truncates"))[-1]
    assert last["choices"][0]["finish_reason"] is None


def test_a_whole_answer_is_one_object_with_the_same_text() -> None:
    thinker = answer("sim:thinker")
    status, body = whole(thinker, Envelope(id="gen-1", created=1, model="sim:thinker"))
    completion = msgspec.json.decode(body)
    assert status == 200
    assert completion["object"] == "chat.completion"
    assert completion["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "".join(thinker.text),
                "reasoning": "".join(thinker.thoughts),
            },
            "finish_reason": "stop",
        }
    ]
    assert completion["usage"] == thinker.usage.to_json()


@pytest.mark.parametrize(
    ("one", "other"), [*itertools.combinations(PROMPT_ONES, 2)], ids=lambda m: m.id
)
def test_no_prompt_model_writes_twenty_tokens_before_another_has_begun(
    one: Temperament, other: Temperament
) -> None:
    first, second = sorted((answer(one.id), answer(other.id)), key=lambda a: a.due(0))
    assert second.due(0) < first.due(19)
