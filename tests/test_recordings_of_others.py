"""Every recorded stream of Anthropic, Google and Ollama, cut everywhere and broken off everywhere.

V, S and U name the rows of docs/corner-cases.md. The same for the OpenAI dialect is in
test_openai_reading.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.providers.anthropic import MessagesReading
from service.providers.dialect import Reading
from service.providers.gemini import ContentReading
from service.providers.ollama import LinesReading
from tests.reading import read, read_plainly
from tests.recordings import Recording
from tests.recordings_of_others import RECORDED

each_recording = pytest.mark.parametrize(
    ("make", "recording"), RECORDED, ids=[recording.server for _, recording in RECORDED]
)


@each_recording
def test_a_recorded_stream_comes_to_its_text_and_its_ending(
    make: Callable[[], Reading], recording: Recording
) -> None:
    outcome = read(make, [recording.raw])
    assert outcome.text == "".join(block.said for block in recording.blocks)
    assert outcome.reasoning == "".join(block.thought for block in recording.blocks)
    assert (outcome.ending or outcome.code) == recording.comes_to


@each_recording
def test_V29_S24_wherever_a_stream_is_cut_in_two_it_comes_to_the_same(
    make: Callable[[], Reading], recording: Recording
) -> None:
    stream = recording.raw
    whole = read(make, [stream])
    for place in range(len(stream) + 1):
        pieces = [stream[:place], stream[place:]]
        assert read(make, pieces) == whole, place
        assert read_plainly(make, pieces) == whole, place
    one_by_one = [stream[i : i + 1] for i in range(len(stream))]
    assert read(make, one_by_one) == read_plainly(make, one_by_one) == whole


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(RECORDED), st.data())
def test_V29_any_number_of_cuts_changes_nothing(
    recorded: tuple[Callable[[], Reading], Recording], data: st.DataObject
) -> None:
    make, recording = recorded
    stream = recording.raw
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20).map(sorted))
    pieces = [stream[i:j] for i, j in itertools.pairwise([0, *places, len(stream)])]
    assert read(make, pieces) == read_plainly(make, pieces) == read(make, [stream])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([MessagesReading, ContentReading, LinesReading]), st.data())
def test_the_fast_way_comes_to_the_same_whatever_stands_beside_the_text(
    make: Callable[[], Reading], data: st.DataObject
) -> None:
    known = [block.raw for made, told in RECORDED if made is make for block in told.blocks]
    odd = [b"\n", b": ping\n\n", b"{}\n", b"data: {}\n\n", b"event: x\n", b"data: "]
    stream = b"".join(data.draw(st.lists(st.sampled_from(known + odd), max_size=12)))
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    pieces = [stream[i:j] for i, j in itertools.pairwise([0, *places, len(stream)])]
    assert read_plainly(make, pieces) == read(make, [stream])


def known_at(recording: Recording, place: int) -> tuple[str, str, bool, bool]:
    """What has come with `place` bytes: text, reasoning, whether it is finished, or torn.

    An event counts as soon as its last byte is there, without the line ends: whole JSON is whole.
    """
    said = thought = ""
    finished = False
    for block in recording.blocks:
        size = len(block.raw.rstrip(b"\r\n"))
        if place < size:
            return said, thought, finished, place > 0
        place = max(0, place - len(block.raw))
        said += block.said
        thought += block.thought
        finished = finished or block.finishing
    return said, thought, finished, False


@each_recording
def test_V06_V23_V54_S28_S29_a_stream_that_breaks_off_anywhere_keeps_its_text_and_is_no_success(
    make: Callable[[], Reading], recording: Recording
) -> None:
    stream = recording.raw
    for place in range(len(stream)):
        outcome = read(make, [stream[:place]])
        said, thought, finished, torn = known_at(recording, place)
        assert (outcome.text, outcome.reasoning) == (said, thought), place
        if isinstance(recording.comes_to, str) or (torn and make is ContentReading):
            finished = False
        if finished:
            assert outcome.ending is not None
            reason = getattr(recording.comes_to, "finish_reason", None)
            assert outcome.ending.finish_reason == reason, place
        else:
            assert outcome.ending is None, place
            assert outcome.code in ("truncated", "empty_response", recording.comes_to), place
            assert outcome.retryable or outcome.code != "truncated", place
            if said or thought:
                assert outcome.code != "empty_response", place
