"""The routes of the contract: what they answer and what they refuse; a refusal asks nobody."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from service.application import create_app
from service.errors import ProviderError
from service.settings import Limits, ProviderSettings, Settings
from service.testing import Script, Stall, Thought, app_for, open_app, open_exchange, open_server
from tests.clients import JSON, Reply, ask, asking, call, connect
from tests.grammar import check_stream, legacy_events

SIMULATED = {"sim": ProviderSettings(dialect="simulated", speed=100)}
LOOKED_AT = ["/models", "/model-stats", "/rate-limit-status", "/health", "/"]
ASKED = ["/compare-stream", "/compare"]
PREFIXES = ["", "/api"]


@asynccontextmanager
async def open_http(
    settings: Settings | None = None, *, app: Any = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application on a real port; of the simulator's if none is given."""
    app = app or create_app(settings or Settings(providers=SIMULATED))
    async with (
        open_server(app) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client,
    ):
        yield client


def limited(**limits: int) -> Settings:
    return Settings(limits=Limits(**limits))


def check_refusal(reply: Reply | httpx.Response, status: int, code: str) -> str:
    """Hold a refusal against the one form that there is; its sentence."""
    found = reply.status if isinstance(reply, Reply) else reply.status_code
    assert found == status
    assert reply.headers["content-type"] == "application/json"
    refused = reply.json()
    assert list(refused) == ["detail", "code"]
    assert refused["code"] == code
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", refused["code"])
    detail = refused["detail"]
    assert isinstance(detail, str)
    assert re.fullmatch(r"[^\n]{10,250}\.", detail), detail
    return detail


# --- every route, for real ----------------------------------------------------------------------


async def test_every_route_is_there_bare_and_under_api() -> None:
    models = ["sim:swift", "sim:terse", "maker/any:free"]
    async with open_http() as client:
        for prefix in PREFIXES:
            for path in LOOKED_AT:
                assert (await client.get(prefix + path)).status_code == 200
            streamed = await client.post(f"{prefix}/compare-stream", json=asking(*models))
            texts = check_stream(streamed.content, models)
            compared = await client.post(f"{prefix}/compare", json=asking(*models))
            assert compared.json()["results"] == texts
            assert all(texts.values())


async def test_a_stream_over_a_socket_has_no_length_and_no_encoding() -> None:
    async with open_http() as client:
        response = await client.post(
            "/compare-stream", json=asking("sim:terse"), headers={"Accept-Encoding": "gzip, br"}
        )
    assert response.headers["transfer-encoding"] == "chunked"
    assert set(response.headers) == {
        "content-type",
        "cache-control",
        "x-accel-buffering",
        "x-content-type-options",
        "x-comparison-id",
        "date",
        "transfer-encoding",
    }


@pytest.mark.parametrize("path", LOOKED_AT)
async def test_head_is_answered_wherever_get_is(path: str) -> None:
    async with open_http() as client:
        for prefix in PREFIXES:
            head, get = await client.head(prefix + path), await client.get(prefix + path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"] == get.headers["content-type"]


async def test_a_connection_is_good_for_many_requests_refused_ones_among_them() -> None:
    async with open_http() as client:
        ports = set()
        for _ in range(3):
            for request in (
                client.build_request("GET", "/models"),
                client.build_request("POST", "/compare", json=asking()),
                client.build_request("POST", "/compare-stream", json=asking("sim:swift")),
            ):
                response = await client.send(request)
                ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(ports) == 1


# --- refusals -----------------------------------------------------------------------------------


def with_field(**fields: Any) -> bytes:
    return json.dumps(asking("a:m") | fields).encode()


def without(field: str) -> bytes:
    return json.dumps({k: v for k, v in asking("a:m").items() if k != field}).encode()


DEEP = 200_000
WRONG_QUESTIONS = [
    pytest.param(without("input_data"), "invalid_request", id="no question"),
    pytest.param(with_field(input_data=None), "invalid_request", id="the question is null"),
    pytest.param(with_field(input_data=["?"]), "invalid_request", id="the question is a list"),
    pytest.param(with_field(input_data=""), "input_required", id="an empty question"),
    pytest.param(with_field(input_data=" \t\n\u3000"), "input_required", id="a blank question"),
    pytest.param(
        with_field(input_data="x" * 1001, tier="brief"), "input_too_long", id="too long for brief"
    ),
    pytest.param(with_field(input_data="x" * 5001), "input_too_long", id="too long for standard"),
    pytest.param(
        with_field(input_data="x" * 15001, tier="extended"),
        "input_too_long",
        id="too long for extended",
    ),
    pytest.param(without("models"), "invalid_request", id="no models"),
    pytest.param(with_field(models=[]), "models_required", id="an empty list of models"),
    pytest.param(with_field(models=["a:m"] * 10), "too_many_models", id="ten models"),
    pytest.param(with_field(models="a:m"), "invalid_request", id="models is a string"),
    pytest.param(with_field(models=[1]), "invalid_request", id="a model is a number"),
    pytest.param(with_field(models=["a:m", " "]), "invalid_model", id="a blank model"),
    pytest.param(with_field(models=["a:\n"]), "invalid_model", id="a model with a line end"),
    pytest.param(with_field(models=["a" * 201]), "invalid_model", id="an endless model"),
    pytest.param(with_field(models=["a:m", "a:"]), "model_not_found", id="a provider alone"),
    pytest.param(with_field(models=["s:nobody"]), "model_not_found", id="unknown to the simulator"),
    pytest.param(with_field(tier="huge"), "invalid_request", id="an unknown tier"),
    pytest.param(with_field(tier=3), "invalid_request", id="the tier is a number"),
    pytest.param(with_field(temperature=-0.1), "invalid_request", id="temperature below 0"),
    pytest.param(with_field(temperature=2.01), "invalid_request", id="temperature above 2"),
    pytest.param(with_field(temperature="1"), "invalid_request", id="temperature is a string"),
    pytest.param(with_field(temperature=True), "invalid_request", id="temperature is true"),
    pytest.param(with_field(top_p=-0.1), "invalid_request", id="top_p below 0"),
    pytest.param(with_field(top_p=1.01), "invalid_request", id="top_p above 1"),
    pytest.param(with_field(max_tokens=255), "invalid_request", id="max_tokens below 256"),
    pytest.param(with_field(max_tokens=65537), "invalid_request", id="max_tokens above 65536"),
    pytest.param(with_field(max_tokens=10**400), "invalid_request", id="max_tokens beyond reason"),
    pytest.param(with_field(max_tokens=300.5), "invalid_request", id="max_tokens is a fraction"),
    pytest.param(with_field(max_tokens="300"), "invalid_request", id="max_tokens is a string"),
    pytest.param(with_field(conversation_history={}), "invalid_request", id="history is no list"),
    pytest.param(
        with_field(conversation_history=[{"role": "user"}]), "invalid_request", id="an empty turn"
    ),
    pytest.param(
        with_field(conversation_history=[{"role": "oracle", "content": "x"}]),
        "invalid_request",
        id="an unknown role",
    ),
    pytest.param(with_field(browser_fingerprint=7), "invalid_request", id="fingerprint: a number"),
    pytest.param(b"", "invalid_json", id="no body"),
    pytest.param(b"input_data=x", "invalid_json", id="no JSON"),
    pytest.param(with_field()[:-1], "invalid_json", id="JSON that is cut"),
    pytest.param(with_field() + b"x", "invalid_json", id="something after the JSON"),
    pytest.param(with_field().replace(b"Why", b"\xff"), "invalid_json", id="no UTF-8"),
    pytest.param(with_field().decode().encode("utf-16"), "invalid_json", id="UTF-16"),
    pytest.param(with_field(temperature=float("nan")), "invalid_json", id="NaN"),
    pytest.param(with_field(temperature=float("inf")), "invalid_json", id="infinity"),
    pytest.param(with_field(input_data="\ud800 "), "invalid_json", id="half a surrogate pair"),
    pytest.param(b"[]", "invalid_request", id="a list"),
    pytest.param(b'"x"', "invalid_request", id="a string"),
    pytest.param(b"null", "invalid_request", id="null"),
    pytest.param(b"[" * DEEP, "invalid_request", id="brackets without end"),
    pytest.param(
        with_field()[:-1] + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
        "invalid_json",
        id="deep JSON where nobody looks",
    ),
]


@pytest.mark.parametrize(("body", "code"), WRONG_QUESTIONS)
async def test_a_wrong_question_is_refused_and_nobody_is_asked(body: bytes, code: str) -> None:
    scripts = [Script("a", (0, "x")), Script("s", (0, "x"), simulated=True)]
    async with open_app(app := app_for(*scripts)):
        details = {
            check_refusal(await call(app, "POST", prefix + path, body=body), 400, code)
            for prefix in PREFIXES
            for path in ASKED
        }
    assert len(details) == 1
    assert [script.opened for script in scripts] == [0, 0]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": 3}, "temperature"),
        ({"tier": "huge"}, "tier"),
        ({"conversation_history": [{"role": "user"}]}, "conversation_history"),
        ({"models": [1]}, "models"),
        ({"input_data": 1}, "input_data"),
    ],
)
async def test_a_refusal_names_the_field(fields: dict[str, Any], field: str) -> None:
    async with open_app(app := app_for(Script("a"))):
        reply = await ask(app, **asking("a:m") | fields)
    assert check_refusal(reply, 400, "invalid_request").startswith(field)


RIGHT_QUESTIONS = [
    pytest.param({"input_data": "é" * 1000, "tier": "brief"}, id="as long as brief may be"),
    pytest.param({"input_data": "é" * 5000}, id="as long as standard may be"),
    pytest.param({"input_data": "é" * 15000, "tier": "extended"}, id="as long as extended may be"),
    pytest.param({"models": ["a:m"] * 9}, id="nine models"),
    pytest.param({"temperature": 0, "top_p": 0, "max_tokens": 256}, id="the least"),
    pytest.param({"temperature": 2, "top_p": 1, "max_tokens": 65536}, id="the most"),
    pytest.param({"temperature": None, "top_p": None, "max_tokens": None}, id="null is not sent"),
    pytest.param({"conversation_history": None, "browser_fingerprint": None}, id="other nulls"),
    pytest.param({"browser_fingerprint": "", "stream": True, "x": {"y": [1]}}, id="unknown fields"),
]


@pytest.mark.parametrize("fields", RIGHT_QUESTIONS)
async def test_what_is_just_allowed_is_answered(fields: dict[str, Any]) -> None:
    question = asking("a:m") | fields
    async with open_app(app := app_for(Script("a", (0, "x")))):
        reply = await ask(app, **question)
    assert reply.status == 200
    check_stream(reply.body, question["models"])


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/json", "garbage"]
)
async def test_what_is_not_called_json_is_refused(content_type: str) -> None:
    script = Script("a", (0, "x"))
    headers = {"Content-Type": content_type}
    async with open_app(app := app_for(script)):
        for path in ASKED:
            reply = await call(app, "POST", path, json_body=asking("a:m"), headers=headers)
            check_refusal(reply, 415, "not_json")
    assert script.opened == 0


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"]
)
async def test_json_may_be_called_so_in_every_way_there_is(content_type: str) -> None:
    headers = {"Content-Type": content_type}
    async with open_app(app := app_for(Script("a", (0, "x")))):
        reply = await call(app, "POST", "/compare", json_body=asking("a:m"), headers=headers)
    assert reply.status == 200


async def test_a_request_without_content_type_is_refused() -> None:
    async with open_http() as client:
        response = await client.post("/compare-stream", content=with_field())
    check_refusal(response, 415, "not_json")


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:  # noqa: ASYNC900  # it owns nothing
    """A body of which nobody says beforehand how long it is."""
    for start in range(0, len(body), 1000):
        yield body[start : start + 1000]  # noqa: ASYNC119


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
@pytest.mark.parametrize("path", ASKED)
async def test_a_body_that_is_too_large_is_refused(announced: bool, path: str) -> None:
    script = Script("a", (0, "x"))
    app = app_for(script, settings=limited(max_body_bytes=8000))
    async with open_http(app=app) as client:

        async def post(body: bytes) -> httpx.Response:
            content = body if announced else in_pieces(body)
            return await client.post(path, content=content, headers=JSON)

        response = await post(with_field().ljust(8001))
        fits = await post(with_field().ljust(8000))
    assert "8000 bytes" in check_refusal(response, 413, "body_too_large")
    assert fits.status_code == 200
    assert script.opened == 1


async def test_a_body_without_end_is_refused_as_soon_as_it_is_too_large() -> None:
    head = (
        "POST /compare HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    app = app_for(Script("a"), settings=limited(max_body_bytes=8000))
    with trio.fail_after(5):
        async with open_server(app) as url, await connect(url) as client:
            await client.send_all(head.encode() + b"1000\r\n" + b" " * 4096 + b"\r\n")
            await trio.testing.wait_all_tasks_blocked()
            await client.send_all(b"1000\r\n" + b" " * 4096 + b"\r\n")
            assert (await client.receive_some()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("size", [100, 900_000, 5_000_000])
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/nowhere", JSON, 404),
        ("/models", JSON, 405),
        ("/compare", {}, 415),
        ("/compare", JSON, 400),
    ],
)
async def test_a_refusal_before_the_bodys_end_costs_the_next_request_nothing(
    size: int, path: str, headers: dict[str, str], status: int
) -> None:
    expected = 413 if path == "/compare" and size > 2**20 else status
    async with open_http(app=app_for(Script("a", (0, "x")))) as client:
        for _ in range(3):
            response = await client.post(path, content=b" " * size, headers=headers)
            assert response.status_code == expected
            assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
async def test_another_method_is_refused_and_the_right_one_named(method: str) -> None:
    script = Script("a", (0, "x"))
    async with open_http(app=app_for(script)) as client:
        for prefix in PREFIXES:
            for path in ASKED:
                response = await client.request(method, prefix + path)
                assert response.headers["allow"] == "POST"
                if method == "HEAD":
                    assert (response.status_code, response.content) == (405, b"")
                else:
                    check_refusal(response, 405, "method_not_allowed")
    assert script.opened == 0


@pytest.mark.parametrize("path", LOOKED_AT)
async def test_what_can_only_be_looked_at_takes_no_post(path: str) -> None:
    async with open_app(app := app_for(Script("a"))):
        reply = await call(app, "POST", path, json_body={})
    check_refusal(reply, 405, "method_not_allowed")
    assert {"GET", "HEAD"} <= {method.strip() for method in reply.headers["allow"].split(",")}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/nowhere", "/compare-stream/", "/api/api/compare", "/models/x"]
)
async def test_an_unknown_address_is_not_found(method: str, path: str) -> None:
    async with open_app(app := app_for(Script("a"))):
        check_refusal(await call(app, method, path), 404, "not_found")


async def test_an_unknown_model_of_the_simulator_is_refused_with_the_others() -> None:
    async with open_http() as client:
        response = await client.post("/compare-stream", json=asking("sim:swift", "sim:nobody"))
        stats = (await client.get("/model-stats")).json()
    assert "'sim:nobody'" in check_refusal(response, 400, "model_not_found")
    assert stats == {"model_statistics": {}, "model_stats": {}}


async def test_a_full_service_refuses_until_a_comparison_has_ended(
    autojump_clock: MockClock,
) -> None:
    script = Script("a", (1, "x"), (0, Stall()))
    app = app_for(script, settings=limited(max_comparisons=2))
    async with open_app(app):
        async with (
            open_exchange(app, "/compare-stream", json_body=asking("a:m")) as first,
            open_exchange(app, "/compare", json_body=asking("a:m")),
        ):
            await first.next_body()
            await trio.testing.wait_all_tasks_blocked()
            for path in ASKED:
                reply = await ask(app, "a:m", path=path)
                check_refusal(reply, 503, "busy")
                assert int(reply.headers["retry-after"]) >= 1
            assert script.opened == 2
        async with open_exchange(app, "/compare-stream", json_body=asking("a:m")) as next_one:
            await next_one.next_body()
            assert next_one.status == 200
    assert (script.opened, script.closed) == (3, 3)


async def test_a_fault_of_the_service_is_a_refusal_too_and_the_log_has_the_reason(
    log_lines: list[dict[str, Any]],
) -> None:
    class Broken(Script):
        @property
        def simulated(self) -> bool:
            raise ZeroDivisionError

        @simulated.setter
        def simulated(self, _: bool) -> None:
            pass

    async with open_app(app := app_for(Broken("a"))):
        reply = await ask(app, "a:m")
    check_refusal(reply, 500, "internal_error")
    [line] = [line for line in log_lines if line["event"] == "request failed"]
    assert isinstance(line["exc_info"], ZeroDivisionError)


async def test_a_fault_after_the_status_cuts_the_stream_where_it_shows_and_is_logged(
    log_lines: list[dict[str, Any]],
) -> None:
    class Broken(Script):
        def parameters(self, prompt: object) -> Any:
            raise ZeroDivisionError

    async with open_http(app=app_for(Script("a", (0, "x")), Broken("b"))) as client:
        with pytest.raises(httpx.RemoteProtocolError):  # no end of the body was sent
            await client.post("/compare-stream", json=asking("b:m"))
        unharmed = await client.post("/compare-stream", json=asking("a:m"))
    check_stream(unharmed.content, ["a:m"])
    [line] = [line for line in log_lines if line["event"] == "answer failed"]
    assert line["exc_info"]


# --- the daily allowance ------------------------------------------------------------------------

UNLIMITED = 2**31 - 1


async def status(app: Any, query: str = "") -> dict[str, Any]:
    reply = await call(app, "GET", f"/rate-limit-status{query}")
    found = reply.json()
    assert isinstance(found, dict)
    return found


async def test_the_days_allowance_ends_in_429_and_nobody_is_asked() -> None:
    script = Script("a", (0, "x"))
    app = app_for(script, settings=limited(daily_model_responses=3))
    async with open_app(app):
        assert (await ask(app, "a:m", "a:m")).status == 200
        for path in ASKED:
            refused = await ask(app, "a:m", "a:m", path=path)
            check_refusal(refused, 429, "daily_limit_reached")
            assert 1 <= int(refused.headers["retry-after"]) <= 86400
        assert script.opened == 2
        assert (await ask(app, "a:m")).status == 200
        assert (await status(app))["remaining_usage"] == 0


async def test_answers_that_failed_are_given_back() -> None:
    good, bad = Script("a", (0, "x")), Script("b", (0, ProviderError("overloaded", "No.")))
    app = app_for(good, bad, settings=limited(daily_model_responses=3))
    async with open_app(app):
        for _ in range(2):
            await ask(app, "b:m", "b:m", "b:m", browser_fingerprint="f")
        await ask(app, "a:m", "b:m", browser_fingerprint="f")
        found = await status(app, "?fingerprint=f")
    assert (found["daily_usage"], found["fingerprint_usage"]) == (1, 1)


async def test_a_refused_question_costs_nothing() -> None:
    app = app_for(Script("a", (0, "x")), settings=limited(daily_model_responses=3))
    async with open_app(app):
        await ask(app, "a:m", temperature=9)
        await ask(app, *["a:m"] * 4)
        assert (await status(app))["daily_usage"] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="a second loopback address is there at once")
async def test_a_fingerprint_counts_from_whatever_address_it_comes() -> None:
    app = app_for(Script("a", (0, "x")), settings=limited(daily_model_responses=2))
    question = asking("a:m", "a:m", browser_fingerprint="f" * 100_000)
    async with open_server(app) as url:
        for address, expected in (("127.0.0.2", 200), ("127.0.0.3", 429)):
            transport = httpx.AsyncHTTPTransport(local_address=address)
            async with httpx.AsyncClient(base_url=url, transport=transport) as client:
                claim = {"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"}
                response = await client.post("/compare", json=question, headers=claim)
                assert response.status_code == expected
                found = (await client.get("/rate-limit-status", headers=claim)).json()
                assert found["ip_address"] == address


async def test_the_allowances_status_has_every_field_that_clients_read() -> None:
    app = app_for(Script("a", (0, "x")), settings=limited(daily_model_responses=5))
    async with open_app(app):
        await ask(app, "a:m", browser_fingerprint="f")
        await ask(app, "a:m")
        found = await status(app, "?fingerprint=f")
        resets_at = datetime.fromisoformat(found.pop("usage_reset_date"))
        assert timedelta(0) < resets_at - datetime.now(UTC) <= timedelta(days=1)
        assert resets_at.time().isoformat() == "00:00:00"
        assert found == {
            "daily_usage": 2,
            "daily_limit": 5,
            "remaining_usage": 3,
            "subscription_tier": "anonymous",
            "authenticated": False,
            "ip_address": "192.0.2.1",
            "fingerprint_usage": 1,
            "fingerprint_remaining": 4,
            "fingerprint_usage_count": 1,
            "ip_usage_count": 2,
        }
        without_one = await status(app)
        odd_one = await status(app, "?fingerprint=%ff%ed%a0%80")
    assert without_one["fingerprint_usage"] is without_one["fingerprint_remaining"] is None
    assert odd_one["fingerprint_usage"] == 0


async def test_without_a_limit_the_status_still_counts() -> None:
    async with open_app(app := app_for(Script("a", (0, "x")))):
        await ask(app, "a:m")
        found = await status(app)
    assert (found["daily_usage"], found["daily_limit"]) == (1, UNLIMITED)
    assert found["remaining_usage"] == UNLIMITED


# --- what the models are asked ------------------------------------------------------------------


async def test_the_last_twenty_turns_reach_a_model_and_then_the_question() -> None:
    script = Script("a", (0, "x"))
    turns = [{"role": "user", "content": f"turn {n}"} for n in range(25)]
    async with open_app(app := app_for(script)):
        reply = await ask(app, "a:m", conversation_history=turns)
    [prompt] = script.prompts
    assert [(m.role, m.content) for m in prompt.messages] == [
        *(("user", f"turn {n}") for n in range(5, 25)),
        ("user", "Why?"),
    ]
    metadata = legacy_events(reply.body)[-1]["metadata"]
    assert (metadata["conversation_message_count"], metadata["is_extended_interaction"]) == (
        25,
        True,
    )


async def test_an_answer_of_one_model_reminds_that_model_alone() -> None:
    scripts = [Script(name, (0, "x")) for name in "ab"]
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How?"},
        {"role": "assistant", "content": "a's words", "model_id": "a:m"},
        {"role": "assistant", "content": "the second a's words", "model_id": "a:m#2"},
        {"role": "assistant", "content": "b's words", "model_id": "b:m"},
        {"role": "assistant", "content": "anybody's words"},
        {"role": "user", "content": "And b?", "model_id": "b:m"},
    ]
    async with open_app(app := app_for(*scripts)):
        await ask(app, "a:m", "b:m", "a:m", conversation_history=turns)
    heard = [
        [message.content for message in prompt.messages if message.role == "assistant"]
        for script in scripts
        for prompt in script.prompts
    ]
    assert sorted(heard) == [  # models begin in any order
        ["a's words", "anybody's words"],
        ["b's words", "anybody's words"],
        ["the second a's words", "anybody's words"],
    ]
    for prompt in (prompt for script in scripts for prompt in script.prompts):
        others = [message.content for message in prompt.messages if message.role != "assistant"]
        assert others == ["Be brief.", "How?", "And b?", "Why?"]


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 4000),
        ({"tier": "brief"}, 2000),
        ({"tier": "standard"}, 4000),
        ({"tier": "extended"}, 8192),
        ({"tier": "brief", "max_tokens": 65536}, 65536),
    ],
)
async def test_the_tier_says_how_long_an_answer_may_be_unless_the_caller_does(
    fields: dict[str, Any], tokens: int
) -> None:
    scripts = [Script(name, (0, "x")) for name in "ab"]
    async with open_app(app := app_for(*scripts)):
        reply = await ask(app, "a:m", "b:m", **fields)
    assert [s.prompts[0].max_tokens for s in scripts] == [tokens, tokens]
    assert [e["parameters"] for e in legacy_events(reply.body)[:2]] == [{"max_tokens": tokens}] * 2


async def test_sampling_that_nobody_asked_for_is_not_sent() -> None:
    script = Script("a", (0, "x"))
    async with open_app(app := app_for(script)):
        await ask(app, "a:m")
        await ask(app, "a:m", temperature=0, top_p=0.5)
    sampling = [(prompt.temperature, prompt.top_p) for prompt in script.prompts]
    assert sampling == [(None, None), (0, 0.5)]


async def test_a_models_name_is_its_own_at_its_provider_and_a_bare_id_goes_to_the_default() -> None:
    scripts = [Script("a", (0, "x")), Script("b", (0, "x"))]
    async with open_app(app := app_for(*scripts)):
        await ask(app, "b:maker/model:free", "maker/model:free", "c:other")
    names = [{prompt.model for prompt in script.prompts} for script in scripts]
    assert names == [{"maker/model:free", "c:other"}, {"maker/model:free"}]


# --- all at once --------------------------------------------------------------------------------


async def test_compare_gives_all_answers_at_once(autojump_clock: MockClock) -> None:
    scripts = [
        Script("a", (20, "x"), *[(50, "y")] * 4),
        Script("b", (1, "half"), (1, ProviderError("truncated", "It broke off."))),
        Script("c", (1, ProviderError("unauthorized", "No."))),
    ]
    async with open_app(app := app_for(*scripts)):
        reply = await ask(app, "a:m", "b:m", "c:m", "a:m", path="/compare")
    assert reply.status == 200
    assert trio.current_time() == 220
    compared = reply.json()
    assert list(compared) == ["results", "errors", "metadata"]
    assert compared["results"] == {
        "a:m": "xyyyy",
        "b:m": "half\n\nError: It broke off.",
        "c:m": "Error: Authentication failed",
        "a:m#2": "xyyyy",
    }
    assert list(compared["results"]) == ["a:m", "b:m", "c:m", "a:m#2"]
    assert compared["errors"] == {"b:m": "truncated", "c:m": "unauthorized"}
    metadata = compared["metadata"]
    assert reply.headers["x-comparison-id"] == metadata["comparison_id"]
    counts = [metadata[f"models_{what}"] for what in ("requested", "successful", "failed")]
    assert counts == [4, 2, 2]


async def test_reasoning_is_no_part_of_an_answer() -> None:
    async with open_app(app := app_for(Script("a", (0, Thought("hm")), (0, "x")))):
        reply = await ask(app, "a:m", path="/compare")
    assert reply.json()["results"] == {"a:m": "x"}


async def test_who_waits_for_all_answers_at_once_may_leave_too(
    autojump_clock: MockClock, log_lines: list[dict[str, Any]]
) -> None:
    script = Script("a", (1, "x"), (0, Stall()))
    async with (
        open_app(app := app_for(script)),
        open_exchange(app, "/compare", json_body=asking("a:m", "a:m")) as exchange,
    ):
        await trio.sleep(2)
        exchange.disconnect()
        assert await exchange.read() == b""
    assert (script.opened, script.closed, trio.current_time()) == (2, 2, 2)
    ended = [line["code"] for line in log_lines if line["event"] == "model ended"]
    assert ended == ["cancelled", "cancelled"]


# --- what can be looked at ----------------------------------------------------------------------

CONFIGURED = {
    "openrouter": ProviderSettings(dialect="openai", base_url="http://127.0.0.1:1/v1"),
    **SIMULATED,
}


@pytest.mark.parametrize("default", ["sim", "openrouter"])
async def test_the_models_are_listed_and_those_that_misbehave_come_last(default: str) -> None:
    app = create_app(Settings(providers=CONFIGURED, default_provider=default))
    async with open_app(app):  # whose other provider is not there
        listed = (await call(app, "GET", "/models")).json()
    assert list(listed) == ["models", "models_by_provider", "sources"]
    models = listed["models"]
    assert len({model["id"] for model in models}) == len(models) > 15
    for model in models:
        assert {"id", "name", "description", "category", "provider"} <= set(model)
    behaved = [model["well_behaved"] for model in models]
    assert behaved == sorted(behaved, reverse=True)
    assert not behaved[-1]
    assert sum(behaved) >= 9
    grouped = listed["models_by_provider"]
    assert all(model["provider"] == name for name, group in grouped.items() for model in group)
    together = [model for group in grouped.values() for model in group]
    assert sorted(m["id"] for m in together) == sorted(m["id"] for m in models)


async def test_every_listed_model_of_the_simulator_may_be_asked_for() -> None:
    async with open_http() as client:
        listed = (await client.get("/models")).json()["models"]
        ids = [model["id"] for model in listed if model["well_behaved"]][:9]
        response = await client.post("/compare-stream", json=asking(*ids))
    assert all(check_stream(response.content, ids).values())


async def test_the_statistics_count_what_ended_and_not_what_a_client_stopped(
    autojump_clock: MockClock,
) -> None:
    good = Script("a", (1, "x"))
    bad = Script("b", (1, ProviderError("overloaded", "No.")))
    endless = Script("c", (1, "x"), (0, Stall()))
    async with open_app(app := app_for(good, bad, endless)):
        for path in ASKED:
            await ask(app, "a:m", "a:m", "b:m", path=path)
        async with open_exchange(
            app, "/compare-stream", json_body=asking("a:m", "c:m")
        ) as exchange:
            await trio.sleep(5)
            await exchange.next_body()
            exchange.disconnect()
            await exchange.read()
        stats = (await call(app, "GET", "/model-stats")).json()
    assert list(stats) == ["model_statistics", "model_stats"]
    for counted in stats.values():
        assert set(counted) == {"a:m", "b:m"}
        assert counted["a:m"].pop("last_success").endswith("+00:00")
        assert counted["b:m"].pop("last_error").endswith("+00:00")
    assert stats["model_statistics"]["a:m"] == {
        "success_count": 4,
        "failure_count": 0,
        "total_attempts": 4,
        "success_rate": 100.0,
        "last_error": None,
    }
    assert stats["model_statistics"]["b:m"] == {
        "success_count": 0,
        "failure_count": 2,
        "total_attempts": 2,
        "success_rate": 0.0,
        "last_success": None,
    }
    assert stats["model_stats"] == {
        "a:m": {"success": 4, "failure": 0, "last_error": None},
        "b:m": {"success": 0, "failure": 2, "last_success": None},
    }


async def test_the_service_is_healthy() -> None:
    async with open_app(app := app_for(Script("a"))):
        assert (await call(app, "GET", "/health")).json() == {"status": "healthy"}


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        pytest.param(BROWSER, "text/html; charset=utf-8", id="a browser"),
        pytest.param("text/html", "text/html; charset=utf-8", id="html alone"),
        pytest.param("application/json", "application/json", id="a client"),
        pytest.param("application/json, text/html;q=0.5", "application/json", id="rather JSON"),
        pytest.param("*/*", "application/json", id="curl"),
        pytest.param("", "application/json", id="nothing said"),
        pytest.param("image/png", "application/json", id="neither"),
    ],
)
async def test_the_first_page_is_for_browsers_and_json_for_others(accept: str, kind: str) -> None:
    async with open_app(app := app_for(Script("a"))):
        for prefix in PREFIXES:
            reply = await call(app, "GET", f"{prefix}/", headers={"Accept": accept})
            assert reply.status == 200
            assert reply.headers["content-type"] == kind
            if kind == "application/json":
                assert list(reply.json()) == ["message"]
            else:
                assert reply.body.lower().startswith(b"<!doctype html>")
