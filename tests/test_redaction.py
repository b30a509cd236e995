"""Keys never show, and no word of a provider can do anything to who reads it."""

from __future__ import annotations

import io
import json
import re
import time
import traceback
from collections.abc import Sequence

import pytest
import structlog
import trio
from structlog.typing import EventDict

from service import log
from service.comparison import Comparison, Entrant
from service.events import Done, ErrorChunk
from service.patience import Patience
from service.providers.call import HTTPProvider
from service.redaction import LONGEST_LOOKED_AT, hide_keys, presentable
from service.testing import open_wire
from service.testing.wire import Step
from tests.asking import question
from tests.calling import (
    DONE,
    HEAD,
    KEY,
    PROMPT,
    STOP,
    ask,
    ask_wire,
    chunk,
    chunked,
    open_provider,
    response,
)

# --- what a key looks like ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "sk-or-v1-0123456789abcdef",
        "csk-Ab_c-1234567890",
        "sk-proj-Ab_c-123456",
        "sk-ant-api03-abc_DEF-123",
        "sk-ab***********yz",
        "SK-ABCDEF123",
        "gsk_0123456789",
        "xai-0123456789",
        "hf_abcdefgh",
        "pk-lf-0123456789",
        "AIzaSyA-0123456789_abc",
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "key {} is wrong",
        '"{}"',
        "({})",
        "k={}&x=1",
        "<b>{}</b>",
        "'{}'\n",
        "\x1b[1;31m{}\x1b[0m",
    ],
)
def test_whatever_looks_like_a_key_is_hidden(key: str, around: str) -> None:
    shown = presentable(around.format(key))
    assert key not in shown
    assert "[hidden]" in shown
    if around.isprintable():
        assert hide_keys(around.format(key)) == shown == around.format("[hidden]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer [hidden]"),
        ("authorization: bearer abc", "authorization: bearer [hidden]"),
        ("x-api-key: abc", "x-api-key: [hidden]"),
        ("https://x/v1?key=abc&y=1", "https://x/v1?key=[hidden]&y=1"),
        ("?api_key=abc", "?api_key=[hidden]"),
        ("https://me:pass@host/x", "https://[hidden]@host/x"),
    ],
)
def test_where_a_key_stands_it_is_hidden_whatever_it_looks_like(text: str, shown: str) -> None:
    assert hide_keys(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "The risk-averse task-force asked scikit-learn.",
        "See https://openrouter.ai/credits?page=1 and mail a@b.example.",
        "sk-1",
        "",
    ],
)
def test_what_is_no_key_stays(text: str) -> None:
    assert hide_keys(text) == text


def test_no_id_of_a_comparison_can_look_like_a_key() -> None:
    # One that did would be hidden in its own log lines. No pattern of a key is hexadecimal.
    ids = [Comparison(question("a"), [], Patience()).id for _ in range(100)]
    assert all(re.fullmatch("[0-9a-f]{32}", id_) for id_ in ids)
    assert [hide_keys(id_) for id_ in ids] == ids


def test_the_secret_itself_is_hidden_wherever_and_however_often_it_stands() -> None:
    assert hide_keys(f"{KEY}{KEY} x{KEY}y", secret=KEY) == "[hidden][hidden] x[hidden]y"
    assert hide_keys("a.*b", secret=".*") == "a[hidden]b"


# --- one line, printable, bounded --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\r\nand\ttabs", "two lines and tabs"),
        ("\x1b[31mred\x1b[0m \x1b[?25l\x1b[2Jx", "red x"),
        ("\x1b]0;title\x07x", "]0;title x"),
        ("a\0b\x7fc\x9bd", "a b c d"),
        ("a\u2028b\u202ec\u200bd\ufeffe", "a b c d e"),
        ("half \ud800 a pair", "half a pair"),
        ("  naïve 例 👋  ", "naïve 例 👋"),
        ("\x1b\x07\n", ""),
    ],
)
def test_control_characters_are_made_harmless(text: str, shown: str) -> None:
    assert presentable(text) == shown
    presentable(text).encode()


def test_a_text_is_cut_at_the_limit_and_says_so() -> None:
    assert presentable("x" * 300) == "x" * 300
    assert presentable("x" * 301) == "x" * 299 + "…"
    assert presentable("abcdef", limit=3) == "ab…"


def test_a_cut_never_leaves_a_part_of_the_secret() -> None:
    for before in range(LONGEST_LOOKED_AT - len(KEY) - 2, LONGEST_LOOKED_AT + 2):
        text = " " * before + KEY + " and the rest" * 9
        shown = presentable(text, secret=KEY, limit=LONGEST_LOOKED_AT * 2)
        assert "plain" not in shown, before
    for limit in range(1, 60):
        assert "plain" not in presentable(f"The key {KEY} is wrong.", secret=KEY, limit=limit)


def test_only_so_much_of_a_text_is_looked_at() -> None:
    assert presentable(" " * (LONGEST_LOOKED_AT - 1) + "x", limit=LONGEST_LOOKED_AT) == "x"
    assert presentable(" " * LONGEST_LOOKED_AT + "x", limit=LONGEST_LOOKED_AT) == ""


@pytest.mark.parametrize(
    "unit", ["x", "://", "sk-", "bearer ", "://a", "sk-a ", "?key=", "AIza", "\x1b[", "a@://"]
)
def test_no_text_makes_the_search_for_keys_slow(unit: str) -> None:
    began = time.perf_counter()
    presentable(unit * (1024 * 1024 // len(unit)), secret=KEY)
    assert time.perf_counter() - began < 1  # some 10 ms


# --- a provider that quotes the key it was given -----------------------------------------------

QUOTED = f"Incorrect API key provided: {KEY}. \x1b[2J\nSee https://me:{KEY}@x.example/?key={KEY}"
IN_JSON = json.dumps({"error": {"message": QUOTED, "code": 401}}).encode()
EVENT = b"data: %b\n\n" % IN_JSON
REFUSAL = b'data: {"choices":[{"delta":{"refusal":"%b"}}]}\n\n'

QUOTING: dict[str, tuple[Step, ...]] = {
    "V36 in JSON": (response(IN_JSON, status="401 No", media_type="application/json"),),
    "V40 in words": (response(json.dumps({"error": QUOTED}).encode(), status="500 No"),),
    "V39 in HTML": (response(f"<html>{QUOTED}".encode(), status="403 No", media_type="text/html"),),
    "V32 in a page": (response(f"<html>{QUOTED}".encode(), media_type="text/html"),),
    "V32 in the media type": (response(b"x", media_type=f"text/{KEY}"),),
    "V33 in a 200": (response(IN_JSON, media_type="application/json"),),
    "V41 in an address": (response(status="302 No", Location=f"http://x.example/?key={KEY}"),),
    "V18 in the middle of a stream": (HEAD + chunked(chunk("a"), EVENT),),
    "V18 in an event of the type error": (
        HEAD + chunked(b"event: error\ndata: " + QUOTED.replace("\n", " ").encode() + b"\n\n"),
    ),
    "V13 in a refusal": (HEAD + chunked(REFUSAL % KEY.encode(), STOP, DONE),),
    "V13 where a refusal is too long": (
        HEAD + chunked(REFUSAL % (b"x" * 285 + KEY.encode()), STOP, DONE),
    ),
}
# What is no HTTP at all: the cause of our error is h11's, which quotes it. It is in no log.
MANGLED: dict[str, tuple[Step, ...]] = {
    "in what is no status": (f"HTTP/1.1 2{KEY} OK\r\n\r\n".encode(),),
    "in what is no header": (f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode(),),
}
ALL = QUOTING | MANGLED


async def told_by_the_service(
    provider: HTTPProvider,
) -> tuple[ErrorChunk, Done]:
    """How a comparison of one model tells its failure."""
    chunks, dones = [], []
    entrant = Entrant("m", provider, PROMPT)
    with trio.fail_after(5):
        async with Comparison(question("m"), [entrant], Patience()).open() as inbox:
            async for event in inbox:
                if isinstance(event, ErrorChunk):
                    chunks.append(event)
                elif isinstance(event, Done):
                    dones.append(event)
    [words], [done] = chunks, dones
    return words, done


@pytest.mark.parametrize("steps", ALL.values(), ids=ALL)
async def test_the_key_is_in_no_event_and_in_no_line_of_the_log(
    steps: Sequence[Step], log_lines: list[EventDict]
) -> None:
    async with open_wire(*steps) as wire, open_provider(wire.base_url) as provider:
        words, done = await told_by_the_service(provider)
        [(head, _)] = wire.requests
    assert KEY.encode() in dict(head.headers)[b"authorization"]  # so it was there to be quoted
    assert done.code is not None
    assert words.content.startswith("Error: ")
    assert 0 < len(words.content.removeprefix("Error: ")) <= 100
    assert words.content.isprintable()
    assert "model ended" in [line["event"] for line in log_lines]
    for shown in (words.content, repr(done), repr(log_lines)):
        assert KEY[:12] not in shown
        assert "\x1b" not in shown


@pytest.mark.parametrize("steps", QUOTING.values(), ids=QUOTING)
async def test_the_key_is_not_in_the_error_nor_in_its_traceback(steps: Sequence[Step]) -> None:
    async with open_wire(*steps) as wire, open_provider(wire.base_url) as provider:
        error = (await ask(provider)).error
    assert error is not None
    shown = "".join(traceback.format_exception(error))
    assert KEY not in str(error)
    assert KEY not in shown
    assert str(error).isprintable()


async def test_the_log_as_it_is_written_hides_the_key_too() -> None:
    output = io.StringIO()
    before = structlog.get_config()
    try:
        log.configure("debug", secrets=[KEY], output=output)
        for steps in ALL.values():
            async with open_wire(*steps) as wire, open_provider(wire.base_url) as provider:
                await told_by_the_service(provider)
    finally:
        structlog.configure(**before)
    lines = output.getvalue().splitlines()
    assert sum("model ended" in line for line in lines) == len(ALL)
    assert KEY not in output.getvalue()
    assert all(json.loads(line) for line in lines)


async def test_an_error_of_nothing_printable_still_has_words() -> None:
    heard = await ask_wire(response(b'{"error":"\\u001b\\u0007"}', status="400 No"), kept=True)
    assert (heard.code, len(heard.words) > 10) == ("bad_request", True)


async def test_an_error_of_a_megabyte_is_one_short_line() -> None:
    long = json.dumps({"error": {"message": "no \n" * 200_000}}).encode()
    heard = await ask_wire(HEAD + chunked(b"data: " + long + b"\n\n"))
    assert heard.code == "provider_error"
    assert len(heard.words) == 300
    async with (
        open_wire(HEAD + chunked(b"data: " + long + b"\n\n")) as wire,
        open_provider(wire.base_url) as provider,
    ):
        words, _ = await told_by_the_service(provider)
    assert len(words.content) == len("Error: ") + 100
