"""What a stream must look like, whatever happens to it; for every test that has one whole.

Written from the contract alone, and read as the oldest clients read: nothing here is the
service's own code, which could be wrong in the same way twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]

PING = b": ping"
FIRST_KEYS = {
    "start": ["model", "type", "provider", "parameters"],
    "chunk": ["model", "type", "content"],
    "reasoning": ["model", "type", "content"],
    "progress": ["model", "type", "fraction", "tokens"],
    "queued": ["model", "type", "ahead"],
    "fallback": ["model", "type", "asked", "provider", "parameters"],
    "done": ["model", "type", "error", "code"],
    "complete": ["type", "metadata"],
}
"""The keys that each event begins with; newer ones may only follow."""
METADATA_KEYS = [
    "input_length",
    "models_requested",
    "models_successful",
    "models_failed",
    "timestamp",
    "processing_time_ms",
    "conversation_message_count",
    "is_extended_interaction",
]
ERROR_CODES = frozenset(
    {
        "connect_error",
        "connect_timeout",
        "tls_error",
        "first_token_timeout",
        "idle_timeout",
        "total_timeout",
        "rate_limited",
        "unauthorized",
        "payment_required",
        "model_not_found",
        "bad_request",
        "overloaded",
        "provider_error",
        "truncated",
        "empty_response",
        "not_event_stream",
        "protocol_error",
        "frame_too_large",
        "upstream_disconnected",
        "content_filtered",
        "cancelled",
        "server_shutdown",
        "internal_error",
    }
)
ERROR_TEXT = re.compile(r"Error: .{1,100}", re.DOTALL)


def names_of(models: Sequence[str]) -> list[str]:
    """What the events call the models of a request: the second of the same gets `#2`."""
    names: list[str] = []
    for model in models:
        name, count = model, 1
        while name in names:
            count += 1
            name = f"{model}#{count}"
        names.append(name)
    return names


def legacy_events(body: bytes) -> list[Event]:
    """The events as legacy clients find them, who know nothing of Server-Sent Events.

    They split on LF LF, skip what does not begin with `data: `, and parse the whole rest.
    """
    blocks = body.decode("utf-8").split("\n\n")
    return [json.loads(block[6:]) for block in blocks if block.startswith("data: ")]


def check_stream(body: bytes, models: Sequence[str]) -> dict[str, str]:
    """Hold a whole body against the grammar; the text of each model.

    `models` are those of the request. Fails with an `AssertionError` that says what is wrong.
    """
    events = _framed_events(body)
    assert events == legacy_events(body), "legacy clients read something else"
    for event in events:
        _check_event(event)
    names = names_of(models)
    said = [(event.get("model"), event["type"]) for event in events]
    assert said[: len(names)] == [(name, "start") for name in names], "the starts come first"
    assert said[-1] == (None, "complete"), "complete comes last"
    middle = events[len(names) : -1]
    assert {event.get("model") for event in middle} <= set(names), "an event of nobody"
    texts = {name: _check_answer([e for e in middle if e["model"] == name]) for name in names}
    failed = sum(event["error"] for event in middle if event["type"] == "done")
    _check_metadata(events[-1]["metadata"], requested=len(names), failed=failed)
    return texts


def _framed_events(body: bytes) -> list[Event]:
    """The events of a body that is nothing but blocks of the two kinds that there are."""
    *blocks, rest = body.split(b"\n\n")
    assert rest == b"", f"the body ends inside a block: {rest!r}"
    assert b"\r" not in body, "a CR"
    events = []
    for block in blocks:
        if block == PING:
            continue
        assert block.startswith(b"data: {"), f"neither an event nor a ping: {block!r}"
        assert b"\n" not in block, f"more than one line: {block!r}"
        events.append(json.loads(block[6:], object_pairs_hook=_without_repeated_keys))
    return events


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), f"a key comes twice: {pairs}"
    return dict(pairs)


def _check_event(event: Event) -> None:
    kind = event.get("type")
    assert kind in FIRST_KEYS, f"an unknown type: {event}"
    keys = FIRST_KEYS[kind]
    assert list(event)[: len(keys)] == keys, f"other keys, or in another order: {event}"
    if "content" in event:
        assert isinstance(event["content"], str)
        assert event["content"] != "", f"an empty piece: {event}"
    if kind == "chunk":
        assert set(event) in ({*keys}, {*keys, "error"}), event
        assert event.get("error", True) is True, event


def _check_answer(events: list[Event]) -> str:
    """What one model said between its start and the end of the comparison; its text."""
    kinds = [event["type"] for event in events]
    assert kinds.count("done") == 1, f"not exactly one done: {kinds}"
    assert kinds[-1] == "done", f"something after done: {kinds}"
    assert not {"start", "complete"} & set(kinds), f"a second beginning or end: {kinds}"
    _check_progress([event for event in events if event["type"] == "progress"])
    done = events[-1]
    chunks = [event for event in events if event["type"] == "chunk"]
    errors = [event for event in chunks if "error" in event]
    if done["error"]:
        assert done["code"] in ERROR_CODES, done
        assert errors
        assert errors == events[-2:-1], f"a failure is told once, right before its done: {events}"
        assert ERROR_TEXT.fullmatch(errors[0]["content"]), errors
    else:
        assert done["error"] is False
        assert done["code"] is None, done
        assert errors == [], f"an error in an answer that did not fail: {errors}"
    return "".join(event["content"] for event in chunks if "error" not in event)


def _check_progress(events: list[Event]) -> None:
    for before, after in pairwise(events):
        assert before["tokens"] <= after["tokens"], f"less than before: {after}"
        assert (before["fraction"] or 0) <= (after["fraction"] or 1), f"fell back: {after}"
    for event in events:
        assert type(event["tokens"]) is int, event
        assert event["tokens"] > 0, event
        fraction = event["fraction"]
        assert fraction is None or (isinstance(fraction, float) and 0 <= fraction <= 1), event


def _check_metadata(metadata: dict[str, Any], *, requested: int, failed: int) -> None:
    assert list(metadata)[: len(METADATA_KEYS)] == METADATA_KEYS, list(metadata)
    counts = [metadata[key] for key in METADATA_KEYS[1:4]]
    assert counts == [requested, requested - failed, failed], counts
    assert datetime.fromisoformat(metadata["timestamp"]).utcoffset() is not None
    for key in ("input_length", "processing_time_ms", "conversation_message_count"):
        assert type(metadata[key]) is int, key
        assert metadata[key] >= 0, key
    assert type(metadata["is_extended_interaction"]) is bool
