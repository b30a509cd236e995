"""Providers that fail, each one of three models; the other two must finish unharmed."""

from __future__ import annotations

import random
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, TypeAlias

import trio

from tests.chaos.fault import fault
from tests.chaos.scene import Answers, Scene, Stage
from tests.chaos.service_under_test import Config
from tests.chaos.upstream import (
    DONE,
    HEAD,
    HEAD_CLOSE,
    Script,
    Talk,
    Upstream,
    chunked,
    counting,
    event,
    open_upstream,
    saying,
    text_event,
)

STEADY = "".join(f"{n} " for n in range(1, 26))
MEBI = 1 << 20


async def one_of_three(
    scene: Scene, script: Script | None, *, model: str = "fake:bad"
) -> tuple[dict[str, Any], Answers]:
    """Compare the model that fails with two that don't; how it ended, and the whole."""
    if script is not None:
        scene.upstream.scripts[model.removeprefix("fake:")] = script
    answers = await scene.compare(model, "fake:steady", "fake:steady")
    for healthy in ("fake:steady", "fake:steady#2"):
        assert answers.code(healthy) is None, f"{healthy} ended in {answers.code(healthy)}"
        assert answers.texts[healthy] == STEADY, f"{healthy} said {answers.texts[healthy]!r}"
    return answers.dones[model], answers


async def fails_with(
    scene: Scene,
    code: str,
    script: Script | None,
    *,
    model: str = "fake:bad",
    text: str | None = None,
    within: float | None = None,
    at_least: float = 0,
) -> str:
    """The one ends in this code, with this text before it, after so many seconds."""
    done, answers = await one_of_three(scene, script, model=model)
    assert done["code"] == code, f"it ended in {done['code']}: {answers.words.get(model)}"
    seconds = done["timings"]["duration_ms"] / 1000
    if within is not None:
        assert at_least <= seconds <= within, f"it ended after {seconds:.2f} s"
    if text is not None:
        assert answers.texts[model] == text, f"its text was {answers.texts[model]!r}"
    return f"{code} after {seconds:.2f} s"


def raw(*parts: bytes, close: bool = True) -> Script:
    """These bytes, and FIN."""

    async def script(talk: Talk) -> None:
        for part in parts:
            await talk.send(part)
        if close:
            await talk.close()
        else:
            await trio.sleep_forever()

    return script


def answering(status: str, body: bytes, *headers: str) -> Script:
    """A response that is no stream."""
    head = "\r\n".join(
        [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    )
    return raw(head.encode() + b"\r\n\r\n" + body)


async def each(*cases: Callable[[], Awaitable[str]]) -> None:
    """All of these at once, each a comparison of its own."""

    async def one(case: Callable[[], Awaitable[str]]) -> None:
        await case()

    async with trio.open_nursery() as nursery:
        for case in cases:
            nursery.start_soon(one, case)


# --- connecting ---------------------------------------------------------------------------------


Others: TypeAlias = "dict[str, str | Upstream]"


@asynccontextmanager
async def nobody_listening(_: Stage) -> AsyncIterator[Others]:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound and not listening: every SYN is answered with RST
        yield {"gone": f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"}


@fault(
    "U-01",
    "connection refused",
    did="a provider's port that nobody listens on",
    expected="`connect_error` at once",
    others=nobody_listening,
)
async def refuses_to_connect(scene: Scene) -> str:
    return await fails_with(scene, "connect_error", None, model="gone:m", within=0.5)


@asynccontextmanager
async def two_names(_: Stage) -> AsyncIterator[Others]:
    async with open_upstream() as other:
        yield {
            "hanging": f"http://slow.invalid:{other.port}/v1",
            "named": f"http://localhost:{other.port}/v1",
            "behind": other,
        }


@fault(
    "U-02",
    "DNS hangs",
    did="54 models whose provider's name is looked up for 4 s (getaddrinfo replaced in the "
    "process), and one whose name is known",
    expected="the 54 end in `connect_timeout` (1 s); the other's name is resolved meanwhile",
    others=two_names,
    meddling="hanging-names",
)
async def name_servers_hang(scene: Scene) -> str:
    hung: list[Answers] = []

    async def compare() -> None:
        hung.append(await scene.compare(*["hanging:m"] * 9))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(compare)
        await trio.sleep(0.3)
        answers = await scene.compare("named:ok")
    codes = {done["code"] for one in hung for done in one.dones.values()}
    assert codes == {"connect_timeout"}, codes
    code = answers.code("named:ok")
    assert code is None, f"the other provider's model ended in {code}"
    return "54 timed out, the other answered"


@asynccontextmanager
async def full_backlog(_: Stage) -> AsyncIterator[Others]:
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (one, two):
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield {"full": f"http://127.0.0.1:{full.getsockname()[1]}/v1"}


@fault(
    "U-03",
    "SYN is not answered",
    did="a listener whose backlog is full: the kernel drops the next SYN",
    expected="`connect_timeout` after 1 s",
    others=full_backlog,
)
async def drops_syn(scene: Scene) -> str:
    return await fails_with(scene, "connect_timeout", None, model="full:m", at_least=0.9, within=2)


@asynccontextmanager
async def never_read(_: Stage) -> AsyncIterator[Others]:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield {"deaf": f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"}


@fault(
    "U-04",
    "accepts, and neither reads nor answers",
    did="a listener that the kernel accepts for and nobody reads from",
    expected="`first_token_timeout` after 1 s, the connection closed",
    short=True,
    others=never_read,
)
async def is_deaf(scene: Scene) -> str:
    return await fails_with(
        scene, "first_token_timeout", None, model="deaf:m", at_least=0.9, within=2
    )


@asynccontextmanager
async def mute(_: Stage) -> AsyncIterator[Others]:
    async with open_upstream(scheme="https") as upstream:
        yield {"mute": upstream}


@fault(
    "U-05",
    "TLS handshake hangs",
    did="a provider that takes the ClientHello and is silent; no garbage collector in the process",
    expected="`connect_timeout` after 1 s, the socket closed at once",
    short=True,
    others=mute,
    meddling="no-collector",
)
async def handshake_hangs(scene: Scene) -> str:
    said = await fails_with(scene, "connect_timeout", None, model="mute:m", at_least=0.9, within=2)
    provider = scene.other("mute")
    assert provider.accepted == 1
    await provider.quiet(within=0.1)
    return f"{said}, socket closed"


@asynccontextmanager
async def badly_certified(stage: Stage) -> AsyncIterator[Others]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stage.certificate)
    async with open_upstream(context) as upstream:
        yield {"bad": upstream}


@fault(
    "U-06",
    "bad certificate",
    did="a provider whose certificate nobody has signed that counts",
    expected="`tls_error`, nothing sent",
    others=badly_certified,
)
async def certificate_is_bad(scene: Scene) -> str:
    said = await fails_with(scene, "tls_error", None, model="bad:m", within=1)
    assert not scene.other("bad").asked
    return said


# --- silence ------------------------------------------------------------------------------------


@fault(
    "U-07",
    "headers, then comments only",
    did="the head, then a comment every 0.2 s for ever",
    expected="`first_token_timeout` after 1 s: comments do not prolong it",
    short=True,
)
async def only_comments(scene: Scene) -> str:
    async def script(talk: Talk) -> None:
        await talk.begin()
        while True:
            await talk.send(chunked(b": PROCESSING\n\n"))
            await trio.sleep(0.2)

    return await fails_with(scene, "first_token_timeout", script, at_least=0.9, within=2)


@fault(
    "U-08",
    "silence in the middle",
    did="three pieces of text, then nothing",
    expected="`idle_timeout` 1 s after the last, the text stays",
    short=True,
)
async def falls_silent(scene: Scene) -> str:
    async def script(talk: Talk) -> None:
        await talk.begin()
        for piece in ("one ", "two ", "three"):
            await talk.say(piece)
        await trio.sleep_forever()

    return await fails_with(
        scene, "idle_timeout", script, text="one two three", at_least=0.9, within=2
    )


# --- breaking off -------------------------------------------------------------------------------


@fault(
    "U-09",
    "RST in the middle of a chunk",
    did="two pieces, half of a third's chunk, then RST",
    expected="`upstream_disconnected`, the two stay",
    short=True,
)
async def resets_in_a_chunk(scene: Scene) -> str:
    async def script(talk: Talk) -> None:
        await talk.begin()
        await talk.say("one ")
        await talk.say("two")
        await trio.sleep(0.1)  # an RST throws away what has not been read
        await talk.send(chunked(text_event(" three"))[:20])
        await trio.sleep(0.1)
        await talk.reset()

    return await fails_with(scene, "upstream_disconnected", script, text="one two", within=1)


@fault(
    "U-10",
    "FIN without the marker and without a finish reason",
    did="once without any framing, once with the last chunk of a sound body",
    expected="`truncated`, never a success; the text stays",
    short=True,
)
async def ends_too_soon(scene: Scene) -> str:
    words = text_event("one ") + text_event("two")
    scripts = [raw(HEAD_CLOSE, words), raw(HEAD, chunked(words), b"0\r\n\r\n")]
    await each(
        *(
            partial(fails_with, scene, "truncated", script, model=f"fake:{n}", text="one two")
            for n, script in enumerate(scripts)
        )
    )
    return "both truncated"


@fault(
    "U-11",
    "FIN inside a character, a JSON text, a line",
    did="a stream cut in an é, in the JSON of its second event, and in its `data:`",
    expected="`truncated`, the first event's text stays, nothing garbled is shown",
    short=True,
)
async def ends_inside(scene: Scene) -> str:
    first, second = text_event("one "), text_event("tée")
    cuts = [second.index(b"\xc3") + 1, second.index(b"choices") + 3, 3]
    scripts = {f"fake:cut-{cut}": raw(HEAD_CLOSE, first + second[:cut]) for cut in cuts}
    await each(
        *(
            partial(fails_with, scene, "truncated", script, model=model, text="one ")
            for model, script in scripts.items()
        )
    )
    return "3 of 3 truncated, text whole up to the cut"


MID_STREAM_ERRORS = [
    ({"error": {"code": 502, "message": "upstream died"}}, "provider_error"),
    ({"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, "rate_limited"),
    ({"error": "in words only"}, "provider_error"),
    (
        {
            "error": {"code": 429, "message": "later"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        },
        "rate_limited",
    ),
    (
        {"choices": [{"index": 0, "delta": {}, "error": {"code": 503, "message": "busy"}}]},
        "overloaded",
    ),
    ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}, "provider_error"),
    ({"object": "error", "message": "bad", "code": 400}, "bad_request"),
]


@fault(
    "U-12",
    "an error object in the middle of the stream",
    did="seven shapes of it, each behind two pieces of text: wrapped, bare, in words, in a choice",
    expected="its own code, else `provider_error`; the text stays",
    short=True,
)
async def errs_in_the_stream(scene: Scene) -> str:
    words = text_event("one ") + text_event("two")
    await each(
        *(
            partial(
                fails_with,
                scene,
                code,
                raw(HEAD, chunked(words + event(error))),
                model=f"fake:error-{n}",
                text="one two",
            )
            for n, (error, code) in enumerate(MID_STREAM_ERRORS)
        )
    )
    return f"{len(MID_STREAM_ERRORS)} of {len(MID_STREAM_ERRORS)}"


REFUSALS = [
    ("429 Too Many Requests", b'{"error":{"message":"slow"}}', ["Retry-After: 7"], "rate_limited"),
    ("402 Payment Required", b'{"error":{"message":"broke"}}', [], "payment_required"),
    ("401 Unauthorized", b'{"error":{"message":"who"}}', [], "unauthorized"),
    ("503 Unavailable", b"<html>busy</html>", ["Content-Type: text/html"], "overloaded"),
]


@fault(
    "U-13",
    "429, 402, 401, and 503 in HTML",
    did="each of them in place of a stream",
    expected="`rate_limited` with its 7 s in the log, `payment_required`, `unauthorized`, "
    "`overloaded`",
    short=True,
)
async def refuses(scene: Scene) -> str:
    await each(
        *(
            partial(
                fails_with, scene, code, answering(status, body, *headers), model=f"fake:{code}"
            )
            for status, body, headers, code in REFUSALS
        )
    )
    line = await scene.service.logged("model ended", within=1, code="rate_limited")
    assert line["retry_after"] == 7, line
    return "4 of 4"


WHOLE = b'{"choices":[{"index":0,"message":{"content":"whole"},"finish_reason":"stop"}]}'


@fault(
    "U-14",
    "200 with HTML, with JSON, with nothing",
    did="each of them in place of a stream",
    expected="`not_event_stream`; the JSON is an answer; `empty_response`",
    short=True,
)
async def answers_otherwise(scene: Scene) -> str:
    page = answering("200 OK", b"<html>hello</html>", "Content-Type: text/html")
    nothing = answering("200 OK", b"", "Content-Type: text/event-stream")
    whole = answering("200 OK", WHOLE, "Content-Type: application/json")

    async def answers_whole() -> str:
        done, answers = await one_of_three(scene, whole, model="fake:whole")
        assert done["code"] is None, done
        assert answers.texts["fake:whole"] == "whole"
        return "whole"

    await each(
        partial(fails_with, scene, "not_event_stream", page, model="fake:page"),
        partial(fails_with, scene, "empty_response", nothing, model="fake:nothing"),
        answers_whole,
    )
    return "3 of 3"


# --- odd sizes ----------------------------------------------------------------------------------


@fault(
    "U-15",
    "one byte in each segment",
    did="an answer of 220 bytes, one every 5 ms",
    expected="the same text",
    short=True,
)
async def in_slices(scene: Scene) -> str:
    async def script(talk: Talk) -> None:
        await talk.send(HEAD_CLOSE)
        for byte in text_event("søme text") + DONE:
            await talk.send(bytes([byte]))
            await trio.sleep(0.005)
        await talk.close()

    done, answers = await one_of_three(scene, script)
    assert done["code"] is None, done
    assert answers.texts["fake:bad"] == "søme text"
    return "the same text"


@fault(
    "U-16",
    "a flood",
    did="a model that writes as fast as it can beside two at 50 tokens/s, read without a pause "
    "for 2 s; then the client leaves",
    expected="the other two on time (0.5 s, at most 1.5 s), the flood held back, memory flat",
    short=True,
    config=Config(first_token=3, idle=3),
)
async def floods(scene: Scene) -> str:
    base = scene.service.resident()
    async with scene.h1() as client:
        began = trio.current_time()
        await client.ask("fake:flood", "fake:steady", "fake:steady")
        steady_after = 0.0
        tail = b""
        read = 0
        ended = 0
        with trio.move_on_after(2):
            while True:
                await client.receive()
                assert not client.closed
                # The body is thrown away as it comes: it is hundreds of megabytes.
                read += len(client.body)
                told = tail + client.body
                ended += told.count(b'"type":"done"') - tail.count(b'"type":"done"')
                tail = bytes(told[-40:])
                client.body.clear()
                if ended == 2 and not steady_after:
                    steady_after = trio.current_time() - began
        assert ended == 2, f"{ended} of the 2 steady models had ended after 2 s"
    await scene.upstream.quiet(within=1)
    grown = scene.service.resident_peak() - base
    assert steady_after < 1.5, f"the steady models took {steady_after:.1f} s"
    assert grown < 32 * MEBI, f"memory grew by {grown >> 20} MiB"
    return (
        f"steady ones after {steady_after:.2f} s, flood {read / 2 / MEBI:.0f} MiB/s, "
        f"memory +{grown / MEBI:.1f} MiB"
    )


@fault(
    "U-17",
    "a line of 10 MB",
    did="text and then `data: ` with ten million bytes and no line's end",
    expected="`frame_too_large`, the text stays",
    short=True,
)
async def endless_line(scene: Scene) -> str:
    script = raw(HEAD_CLOSE, text_event("one"), b"data: ", *[b"x" * 100_000] * 100)
    return await fails_with(scene, "frame_too_large", script, text="one", within=2)


@fault(
    "U-18",
    "a gzip bomb",
    did="`Content-Encoding: gzip` and 1 GiB of zeros in 1 MB",
    expected="refused unread: `protocol_error`, memory flat",
    short=True,
)
async def gzip_bomb(scene: Scene) -> str:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(MEBI)
    bomb = b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    head = HEAD_CLOSE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    return await fails_with(scene, "protocol_error", raw(head, *[bomb] * 16), within=1)


@fault(
    "U-19",
    "an error body without an end, and 1xx without an end",
    did="500 with a body at full speed; 500 with a byte every 0.1 s; `102` every 5 ms for ever",
    expected="cut at 64 KiB, cut after 5 s, `first_token_timeout`",
    limit=40,
    config=Config(first_token=2),
)
async def endless_preliminaries(scene: Scene) -> str:
    head = b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n"

    async def fast(talk: Talk) -> None:
        await talk.send(head)
        while True:
            await talk.send(b"x" * 10_000)

    async def slow(talk: Talk) -> None:
        await talk.send(head)
        while True:
            await talk.send(b"x")
            await trio.sleep(0.1)

    async def informs(talk: Talk) -> None:
        while True:
            await talk.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await trio.sleep(0.005)

    error = partial(fails_with, scene, "provider_error")
    await each(
        partial(error, fast, model="fake:fast", within=1),
        partial(error, slow, model="fake:slow", at_least=4, within=6),
        partial(
            fails_with,
            scene,
            "first_token_timeout",
            informs,
            model="fake:informs",
            at_least=1.9,
            within=3,
        ),
    )
    return "3 of 3"


@fault(
    "U-20",
    "never ends",
    did="a word every 0.1 s for ever",
    expected="`total_timeout` after 3 s, the text stays",
    config=Config(total=3),
    lap=1.5,
)
async def never_ends(scene: Scene) -> str:
    return await fails_with(
        scene, "total_timeout", counting(10**9, gap=0.1), at_least=2.9, within=4
    )


@fault(
    "U-21",
    "all models fail",
    did="nine models, by RST, FIN, 500, an error object and silence",
    expected="nine `done`s with an error, then `complete`, a clean end",
    short=True,
)
async def all_fail(scene: Scene) -> str:
    async def tears(talk: Talk) -> None:
        await talk.reset()

    scene.upstream.scripts |= {
        "rst": tears,
        "fin": raw(HEAD_CLOSE),
        "500": answering("500 Oops", b"{}"),
        "err": raw(HEAD, chunked(event({"error": {"message": "no"}}))),
    }
    models = [f"fake:{name}" for name in ("rst", "fin", "500", "err", "silent")]
    answers = await scene.compare(*models, *models[:4])
    codes = [done["code"] for done in answers.dones.values()]
    assert all(codes), codes
    assert answers.metadata["models_failed"] == 9
    return ", ".join(sorted({str(code) for code in codes}))


@fault(
    "U-22",
    "closes a kept connection when it is used again",
    did="answers once and keeps the connection; closes it when the next request is there",
    expected="the next comparison is whole by a safe retry, or ends in one clean error",
    short=True,
)
async def closes_at_reuse(scene: Scene) -> str:
    numbers = count(1)

    async def script(talk: Talk) -> None:
        if next(numbers) % 2:
            await saying("well")(talk)
        else:
            await talk.close()

    scene.upstream.scripts["fickle"] = script
    codes = [(await scene.compare("fake:fickle")).code("fake:fickle") for _ in range(4)]
    assert set(codes) <= {None, "upstream_disconnected"}, codes
    assert codes[0] is None
    return " ".join(code or "whole" for code in codes)


@fault(
    "U-23",
    "every second answer fails",
    did="200 comparisons of three such models, six at a time (seed 1; not the five minutes that "
    "a soak would take)",
    expected="half fail, nothing else does, everything back at the base line",
    limit=60,
)
async def flaps(scene: Scene) -> str:
    rng = random.Random(1)

    async def script(talk: Talk) -> None:
        if rng.random() < 0.5:
            await talk.reset()
        else:
            await saying("well")(talk)

    scene.upstream.scripts["flaps"] = script
    codes: list[str | None] = []

    async def compare() -> None:
        for _ in range(33):
            answers = await scene.compare(*["fake:flaps"] * 3)
            codes.extend(done["code"] for done in answers.dones.values())

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(compare)
    failed = sum(code is not None for code in codes)
    assert set(codes) == {None, "upstream_disconnected"}, set(codes)
    assert 0.4 < failed / len(codes) < 0.6, f"{failed} of {len(codes)} failed"
    return f"{failed} of {len(codes)} failed"


@fault(
    "U-24",
    "clock-skewed, and slow by chance",
    did="30 comparisons of three models that wait 0 to 0.8 s before the head and between tokens "
    "(deadlines of 1 s), their `Date` a year off",
    expected="no time-out at all",
)
async def late_but_not_too_late(scene: Scene) -> str:
    rng = random.Random(2)
    head = HEAD.replace(b"\r\n\r\n", b"\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n")

    async def script(talk: Talk) -> None:
        await trio.sleep(rng.uniform(0, 0.8))
        await talk.send(head)
        for _ in range(3):
            await talk.say("x")
            await trio.sleep(rng.uniform(0, 0.8))
        await talk.finish()

    scene.upstream.scripts["late"] = script
    codes: list[str | None] = []

    async def compare() -> None:
        answers = await scene.compare(*["fake:late"] * 3)
        codes.extend(done["code"] for done in answers.dones.values())

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(compare)
    assert set(codes) == {None}, set(codes)
    return f"{len(codes)} of {len(codes)} whole"
