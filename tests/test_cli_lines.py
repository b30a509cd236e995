"""A comparison as plain lines, and models' words made safe to show."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.lines import Lines
from service.cli.words import printable, summary
from service.events import (
    Chunk,
    Complete,
    Done,
    ErrorChunk,
    ErrorCode,
    Event,
    Metadata,
    Reasoning,
    Start,
    Timings,
    Usage,
)


def chunk(content: str, model: str = "a") -> Chunk:
    return Chunk(model=model, content=content)


def thought(content: str) -> Reasoning:
    return Reasoning(model="a", content=content)


def done(
    model: str = "a",
    *,
    code: ErrorCode | None = None,
    reason: str | None = "stop",
    first_token_ms: float | None = 400.0,
    usage: Usage | None = None,
) -> Done:
    return Done(
        model=model,
        error=code is not None,
        code=code,
        finish_reason=reason,
        timings=Timings(
            queue_ms=0,
            connect_ms=1,
            first_byte_ms=2,
            first_token_ms=first_token_ms,
            duration_ms=3610,
        ),
        usage=usage or tokens(257),
        cost_usd=None,
        chunks=250,
        attempts=1,
    )


def tokens(count: int, *, estimated: bool = False) -> Usage:
    return Usage(input_tokens=10, output_tokens=count, reasoning_tokens=0, estimated=estimated)


def metadata(models: int = 3, failed: int = 0) -> Metadata:
    return Metadata(
        input_length=3,
        models_requested=models,
        models_successful=models - failed,
        models_failed=failed,
        timestamp="2026-01-01T00:00:00.000+00:00",
        processing_time_ms=3610,
        conversation_message_count=0,
        is_extended_interaction=False,
        comparison_id="c",
        usage=tokens(0),
        cost_usd=None,
        slowest_model_ms=3600.0,
        sum_of_models_ms=8620.0,
        speedup=2.39,
    )


def lines_of(*events: Event) -> list[str]:
    lines = Lines()
    return [line for event in events for line in lines.hear(event)]


def test_a_line_comes_when_it_is_complete_and_says_whose_it_is() -> None:
    lines = Lines()
    assert lines.hear(Start(model="a", provider="p", parameters={})) == []
    assert lines.hear(chunk("one ")) == []
    assert lines.hear(chunk("uno", "b")) == []
    assert lines.hear(chunk("line\ntwo\n\nthr")) == ["[a] one line", "[a] two", "[a] "]
    assert lines.hear(chunk("ee")) == []
    assert lines.hear(done()) == [
        "[a] three",
        "[a] done: stop, 257 tokens, first token 0.40 s, 3.61 s",
    ]
    assert lines.hear(done("b")) == [
        "[b] uno",
        "[b] done: stop, 257 tokens, first token 0.40 s, 3.61 s",
    ]


def test_an_answer_that_ends_with_its_line_has_no_empty_line_more() -> None:
    assert lines_of(chunk("one\n"), done())[:-1] == ["[a] one"]


def test_reasoning_is_marked_and_never_shares_a_line_with_the_answer() -> None:
    assert lines_of(thought("hm\nwell"), chunk("Yes."), thought("sure?"), done())[:-1] == [
        "[a] (thinking) hm",
        "[a] (thinking) well",
        "[a] Yes.",
        "[a] (thinking) sure?",
    ]


def test_a_failure_comes_in_words_after_what_had_been_written() -> None:
    words = ErrorChunk(model="a", content="Error: Timeout (30s)")
    assert lines_of(chunk("half a li"), words, done(code="first_token_timeout")) == [
        "[a] half a li",
        "[a] failed: Timeout (30s)",
    ]


def test_a_failure_without_words_is_named_by_its_code() -> None:
    assert lines_of(done(code="cancelled")) == ["[a] failed: cancelled"]


def test_what_is_not_known_is_not_said() -> None:
    unknown = done(reason=None, first_token_ms=None, usage=tokens(1, estimated=True))
    assert lines_of(unknown) == ["[a] done: about 1 token, 3.61 s"]


def test_the_last_line_says_what_the_comparison_came_to() -> None:
    assert lines_of(Complete(metadata=metadata())) == [
        "3 models in 3.61 s, slowest 3.60 s, one after another 8.62 s (2.4x faster)"
    ]


def test_the_summary_counts_those_that_failed_and_compares_only_several() -> None:
    assert summary(metadata(failed=1)).startswith("3 models (1 failed) in 3.61 s, slowest ")
    assert summary(metadata(models=1)) == "1 model in 3.61 s"


@given(st.text(alphabet="ab \n\r\t\x1b", max_size=12), st.data())
def test_however_an_answer_is_cut_the_lines_are_the_same(text: str, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = itertools.pairwise([0, *places, len(text)])
    cut = lines_of(*(chunk(text[begin:end]) for begin, end in pieces), done())
    assert cut == lines_of(chunk(text), done())


@pytest.mark.parametrize("reasoning", [False, True])
def test_a_line_end_that_only_some_programs_know_makes_no_line(reasoning: bool) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\r\ng\n"
    event = thought(text) if reasoning else chunk(text)
    [first, second, _] = lines_of(event, done())
    assert first.endswith("a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf")
    assert second.endswith(" g")


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_that_a_terminal_obeys_gets_through(text: str) -> None:
    shown = printable(text)
    left = {unicodedata.category(sign) for sign in shown.replace("\n", "").replace("\t", "")}
    assert not left & {"Cc", "Cs", "Zl", "Zp"}
    shown.encode()
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize("sign", [chr(n) for n in [*range(0x20), *range(0x7F, 0xA0)]])
def test_of_the_control_characters_only_line_feed_and_tab_are_left(sign: str) -> None:
    shown = {"\n": "\n", "\t": "\t", "\r": ""}.get(sign, "\ufffd")
    assert printable(f"a{sign}b") == f"a{shown}b"


def test_words_of_all_languages_stay_as_they_are() -> None:
    text = "naïve — 日本語　の 👩‍👩‍👧 می‌خواهم ราคา 1\u202f000\u00a0€ ☕️"
    assert printable(text) == text


def test_what_would_turn_the_reading_direction_is_left_out() -> None:
    assert printable("user\u202etxt.exe\u2066\u200b\ufeff") == "usertxt.exe"
