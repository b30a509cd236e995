"""Requests and words that mean harm."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import trio
from hyperframe.frame import HeadersFrame, PingFrame, SettingsFrame

from tests.chaos.clients import PREFACE, RawH2, question
from tests.chaos.fault import fault
from tests.chaos.rows.asking import JSON_POST, WEBSOCKET, said_to, status_of
from tests.chaos.scene import Scene, answers_in
from tests.chaos.upstream import DONE, HEAD_CLOSE, Talk, text_event
from tests.chaos.waiting import until

MEBI = 1 << 20

# --- ambiguous and endless bodies ---------------------------------------------------------------

BODY = b'{"input_data":"q","models":["fake:ok"]}'
SECOND = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
CHUNKED = JSON_POST + b"Transfer-Encoding: chunked\r\n\r\n"
AMBIGUOUS = {
    "CL+TE": JSON_POST
    + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % len(BODY),
    "TE+CL": JSON_POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two CL": JSON_POST + b"Content-Length: 39\r\nContent-Length: 40\r\n\r\n" + BODY,
    "CL list": JSON_POST + b"Content-Length: 39, 40\r\n\r\n" + BODY,
    "CL +39": JSON_POST + b"Content-Length: +39\r\n\r\n" + BODY,
    "CL -1": JSON_POST + b"Content-Length: -1\r\n\r\n" + BODY,
    "CL 0x27": JSON_POST + b"Content-Length: 0x27\r\n\r\n" + BODY,
    "two TE": JSON_POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE xchunked": JSON_POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE gzip": JSON_POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE in 1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    "space before colon": JSON_POST + b"Content-Length : 39\r\n\r\n" + BODY,
    "folded TE": JSON_POST
    + b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "chunk size -1": CHUNKED + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size 0x27": CHUNKED + b"0x27\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size of 30 digits": CHUNKED + b"0" * 30 + b"27\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk without its CRLF": CHUNKED + b"27\r\n" + BODY + b"0\r\n\r\n",
    "bare CR in a header": JSON_POST + b"X-A: b\rContent-Length: 39\r\n\r\n",
    "NUL in a header": JSON_POST + b"X-A: \x00\r\n\r\n",
    "no Host": b"GET /health HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
}
TOLERATED = {"chunk size of 30 digits": {200, 400}}
"""Where another answer than 400 is no ambiguity."""


@fault(
    "X-08",
    "two ways to read a request",
    did=f"{len(AMBIGUOUS)} heads and chunks that servers are known to read differently, each with "
    "a second request right behind it",
    expected="400 and closed; never a second answer",
    short=True,
)
async def ambiguous(scene: Scene) -> str:
    wrong = []

    async def one(name: str, data: bytes) -> None:
        said = await said_to(scene, data + SECOND)
        answers = said.count(b"HTTP/1.1 ")
        status = status_of(said)
        if answers > 1:
            wrong.append(f"{name}: {answers} answers")
        elif status not in TOLERATED.get(name, {400, 501}):
            wrong.append(f"{name}: status {status}")
        elif said.endswith(b"<open>") and status != 200:
            wrong.append(f"{name}: left open")

    async with trio.open_nursery() as nursery:
        for name, data in AMBIGUOUS.items():
            nursery.start_soon(one, name, data)
    assert not wrong, "; ".join(wrong)
    return f"{len(AMBIGUOUS)} of {len(AMBIGUOUS)} refused"


# --- bodies -------------------------------------------------------------------------------------


def asked_with(**fields: object) -> bytes:
    return json.dumps({"input_data": "q", "models": ["fake:ok"], **fields}).encode()


BODIES: dict[str, tuple[bytes, set[int]]] = {
    "1 MiB + 1": (b" " * (MEBI + 1), {413}),
    "deep arrays": (b"[" * 100_000, {400}),
    "deep in a field": (b'{"input_data":"q","models":["fake:ok"],"x":' + b"[" * 100_000, {400}),
    "100 000 keys": (
        b'{"input_data":"q","models":[],' + b",".join(b'"%d":0' % n for n in range(80_000)) + b"}",
        {400},
    ),
    "NaN": (b'{"input_data":"q","models":["fake:ok"],"temperature":NaN}', {400}),
    "1e999": (b'{"input_data":"q","models":["fake:ok"],"temperature":1e999}', {400}),
    "lone surrogate": (b'{"input_data":"\\ud800","models":["fake:ok"]}', {400}),
    "invalid UTF-8": (b'{"input_data":"\xff","models":["fake:ok"]}', {400}),
    "repeated keys": (b'{"input_data":"q","input_data":"r","models":["fake:ok"]}', {200, 400}),
    "NUL": (b'{"input_data":"a\\u0000b","models":["fake:ok"]}', {200, 400}),
    "a long question": (asked_with(input_data="x" * 900_000), {400}),
    "no JSON": (b"hello", {400}),
    "empty": (b"", {400, 415}),
    "an array": (b"[]", {400}),
    "half": (asked_with()[:-1], {400}),
}


async def all_refused(scene: Scene, bodies: dict[str, tuple[bytes, set[int]]]) -> str:
    wrong: list[str] = []
    before = scene.service.processor_seconds()
    for name, (body, allowed) in bodies.items():
        async with scene.h1() as client:
            head = JSON_POST + b"Content-Length: %d\r\n\r\n" % len(body)
            with trio.fail_after(5):
                with suppress(trio.BrokenResourceError):  # it may be refused by its length
                    await client.send_as_is(head + body)
                await client.until(lambda: client.ended)
            if client.status not in allowed:
                wrong.append(f"{name}: {client.status}")
            elif client.status != 200 and not isinstance(json.loads(client.body)["detail"], str):
                wrong.append(f"{name}: no sentence")
            client._accepted.clear()
    busy = (scene.service.processor_seconds() - before) / len(bodies)
    assert not wrong, "; ".join(wrong)
    assert busy < 0.1, f"{1000 * busy:.0f} ms of processor each"
    return (
        f"{len(bodies)} of {len(bodies)}, {1000 * busy:.0f} ms of processor each, canary included"
    )


@fault(
    "X-10",
    "bodies that mean harm",
    did=f"{len(BODIES)} of them: too long, too deep, 80 000 keys, NaN, lone surrogates, NUL, "
    "repeated keys, a question of 900 000 characters",
    expected="413 or 400 with a sentence in JSON; nothing that takes the processor",
    short=True,
)
async def harmful_bodies(scene: Scene) -> str:
    return await all_refused(scene, BODIES)


@fault(
    "X-11",
    "models that mean harm",
    did="10 000 models, none, an unknown provider's, an empty id, one of 300 characters, a number, "
    "the same one ten times",
    expected="400 with a sentence, no provider asked (422 is not used by this contract)",
    short=True,
)
async def harmful_models(scene: Scene) -> str:
    ids: dict[str, object] = {
        "10 000": [f"fake:m{n}" for n in range(10_000)],
        "none": [],
        "unknown": ["sim:nobody"],
        "empty": [""],
        "blank": ["  "],
        "no name": ["fake:"],
        "long": ["x" * 300],
        "a number": [1],
        "no list": "fake:ok",
        "ten times": ["fake:ok"] * 10,
    }
    said = await all_refused(
        scene, {name: (asked_with(models=models), {400}) for name, models in ids.items()}
    )
    assert not scene.upstream.accepted
    return said


INJECTION = '\r\n{"event":"forged","level":"error"}\r\n\u2028\x1b[31m'


@fault(
    "X-12",
    "line ends where a line is written",
    did="CR, LF, NUL and escape sequences in a model's id, in the history, in a path, in headers",
    expected="400, 404, or a harmless answer; not one forged line in the log",
    short=True,
)
async def injects_lines(scene: Scene) -> str:
    forged = INJECTION
    for model in (f"fake:ok{forged}", "fake:\x00", "fake:a\nb", "fake:\x1b[2J"):
        status, _, _ = await scene.post(model)
        assert status == 400, (model, status)
    async with scene.h1() as client:
        await client.ask(
            "fake:ok",
            browser_fingerprint=forged,
            conversation_history=[{"role": "assistant", "content": forged, "model_id": forged}],
        )
        answers_in(await client.whole(), ["fake:ok"])
    for path in ("/%0aforged", "/%0d%0a%7b%22event%22%3a%22forged%22%7d", "/nowhere%00"):
        status, _, _ = await scene.get(path)
        assert status in (400, 404), (path, status)
    said = await said_to(
        scene, b"GET /health HTTP/1.1\r\nHost: test\r\nX-A: a\x0bb\x1b[31m\r\n\r\n"
    )
    assert status_of(said) in (200, 400), said[:100]

    async def names_itself(talk: Talk) -> None:
        await talk.send(
            b"HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        )
        await talk.send(json.dumps({"error": {"message": f"bad{forged}", "code": forged}}).encode())
        await talk.close()

    scene.upstream.scripts["names"] = names_itself
    answers = await scene.compare("fake:names")
    assert answers.code("fake:names") is not None
    assert not scene.service.lines("forged")
    assert not scene.service.stray, scene.service.stray
    assert not [
        line for line in scene.service.log if "\x1b" in json.dumps(line, ensure_ascii=False)
    ]
    return "no forged line"


@fault(
    "X-13",
    "a spoofed X-Forwarded-For",
    did="`X-Forwarded-For`, `Forwarded`, `X-Real-IP` from a peer that is no trusted proxy",
    expected="ignored: the address is the connection's",
    short=True,
)
async def spoofs_its_address(scene: Scene) -> str:
    async with scene.h1() as client:
        headers = [
            ("X-Forwarded-For", "203.0.113.9"),
            ("Forwarded", "for=203.0.113.9"),
            ("X-Real-IP", "203.0.113.9"),
        ]
        await client.request("GET", "/rate-limit-status", headers=headers)
        answer = json.loads(await client.whole())
    assert answer["ip_address"] == "127.0.0.1", answer["ip_address"]
    return "127.0.0.1"


ODD_REQUESTS: dict[str, tuple[bytes, set[int]]] = {
    "websocket": (WEBSOCKET + b"\r\n", {200, 400, 404, 426}),
    "CONNECT": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", {400, 404, 405}),
    "TRACE": (b"TRACE /health HTTP/1.1\r\nHost: test\r\n\r\n", {400, 404, 405, 501}),
    "absolute URI": (b"GET http://test/health HTTP/1.1\r\nHost: test\r\n\r\n", {200, 400, 404}),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", {200, 204, 400, 404, 405}),
    "HTTP/0.9": (b"GET /health\r\n\r\n", {0, 400}),
    "HTTP/3.0": (b"GET /health HTTP/3.0\r\nHost: test\r\n\r\n", {400, 505}),
    "PRI and garbage": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"garbage" * 100, {0, 400}),
    "PRI of HTTP/1": (b"PRI * HTTP/1.1\r\nHost: test\r\n\r\n", {0, 400, 404, 405}),
    "TLS to a clear port": (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        {0, 400},
    ),
    "dots": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: test\r\n\r\n", {400, 404}),
}


@fault(
    "X-14",
    "other methods, other protocols",
    did=f"{len(ODD_REQUESTS)} of them: websocket, CONNECT, TRACE, an absolute URI, `OPTIONS *`, "
    "HTTP/0.9, HTTP/3.0, a preface with garbage, TLS to a clear port",
    expected="a 4xx, a harmless answer, or closed",
    short=True,
)
async def odd_requests(scene: Scene) -> str:
    told: list[str] = []
    wrong: list[str] = []

    async def one(name: str, data: bytes, allowed: set[int]) -> None:
        status = status_of(await said_to(scene, data))
        told.append(f"{name} {status or 'closed'}")
        if status not in allowed:
            wrong.append(f"{name}: {status}")

    async with trio.open_nursery() as nursery:
        for name, (data, allowed) in ODD_REQUESTS.items():
            nursery.start_soon(one, name, data, allowed)
    assert not wrong, "; ".join(wrong)
    return ", ".join(sorted(told))


# --- chance -------------------------------------------------------------------------------------

ROUNDS = 400


def recorded() -> list[bytes]:
    """Sessions that are sound: what is mutated."""
    settings = PREFACE + SettingsFrame().serialize()
    frames = RawH2.post(1, "fake:ok")
    return [
        question("fake:ok"),
        question("fake:ok") + SECOND,
        CHUNKED + b"27\r\n" + BODY + b"\r\n0\r\n\r\n",
        settings + b"".join(frame.serialize() for frame in frames),
        settings + frames[0].serialize() + PingFrame(opaque_data=b"12345678").serialize(),
        settings + HeadersFrame(1, RawH2.plain_block((b":method", b"GET"))).serialize(),
    ]


def mutated(session: bytes, rng: random.Random) -> bytes:
    """A session with some bytes changed, cut out, doubled, or put in."""
    data = bytearray(session)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data)) if data else 0
        match rng.randrange(5):
            case 0 if data:
                data[place] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place] = rng.randrange(256)
            case 2:
                del data[place : place + rng.randint(1, 20)]
            case 3:
                data[place:place] = data[place : place + rng.randint(1, 40)]
            case _:
                data[place:place] = rng.randbytes(rng.randint(1, 20))
    return bytes(data)


@fault(
    "X-15",
    "random bytes and mutated sessions",
    did=f"{ROUNDS} connections, eight at a time: recorded sessions of HTTP/1.1 and HTTP/2 with "
    "bytes changed, cut, doubled (seed 7; not an hour of it)",
    expected="the process lives, no contained fault in the log",
    limit=90,
)
async def random_bytes(scene: Scene) -> str:
    rng = random.Random(7)
    sessions = recorded()
    waiting = [mutated(rng.choice(sessions), rng) for _ in range(ROUNDS - 40)]
    waiting += [rng.randbytes(rng.randint(1, 2000)) for _ in range(40)]

    async def work() -> None:
        while waiting:
            await said_to(scene, waiting.pop(), within=2, end=True)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(work)
    await until(lambda: not scene.upstream.in_use, within=2, what="what was asked for has ended")
    await scene.healthy()
    return f"{ROUNDS} connections, no contained fault"


EVIL = [
    '\n\nevent: done\ndata: {}\n\ndata: {"type":"complete"}\n\n',
    "\r\n\r\ndata: [DONE]\r\n\r\n",
    "\x1b[2J\x1b]0;owned\x07",
    "<script>alert(1)</script>",
    "\u2028\u2029\x85\x00\ufeff",
    '"},{"type":"done","error":false}',
]


@fault(
    "X-16",
    "a provider's text that means harm",
    did="a model that says event framing, `[DONE]`, escape sequences, script, odd line ends; and "
    "an error that says them",
    expected="the same text in one JSON-escaped event each; the error's words on one clean line",
    short=True,
)
async def evil_text(scene: Scene) -> str:
    async def script(talk: Talk) -> None:
        await talk.send(HEAD_CLOSE)
        for text in EVIL:
            await talk.send(text_event(text))
        await talk.send(DONE)
        await talk.close()

    scene.upstream.scripts["evil"] = script
    answers = await scene.compare("fake:evil", "fake:ok")
    assert answers.texts["fake:evil"] == "".join(EVIL)
    assert b"\x1b" not in answers.body
    assert b"\x00" not in answers.body
    assert "owned" not in json.dumps(scene.service.log)

    async def error(talk: Talk) -> None:
        words = json.dumps({"error": {"message": "".join(EVIL), "code": EVIL[2]}}).encode()
        await talk.send(b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n" + words)
        await talk.close()

    scene.upstream.scripts["error"] = error
    refused = await scene.compare("fake:error", "fake:ok")
    assert refused.code("fake:error") == "provider_error"
    assert refused.words["fake:error"].isprintable(), refused.words
    log = json.dumps(scene.service.log, ensure_ascii=False)
    assert "\x1b" not in log
    assert not scene.service.stray
    return f"{len(EVIL)} of {len(EVIL)} as they were said"
