"""The document against the specification, the application, and the bytes that are really sent."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
import trio
from openapi_schema_validator import OAS32Validator
from openapi_spec_validator import OpenAPIV32SpecValidator
from quart.typing import TestClientProtocol as Client  # pytest would collect a Test*
from quart_trio import QuartTrio
from trio.testing import MockClock

from service.application import create_app
from service.events import (
    ERROR_CODES,
    Chunk,
    Complete,
    Done,
    ErrorChunk,
    Event,
    Fallback,
    Metadata,
    Progress,
    Queued,
    Reasoning,
    Start,
    Timings,
    Usage,
)
from service.eventstream import PING, Decoder, encode
from service.openapi import document
from service.openapi.page import ASSETS
from service.question import parse_question
from service.refusal import Refusal
from service.settings import Limits, ProviderSettings, Settings
from service.testing import Script, Stall, app_for, open_exchange
from tests.grammar import check_stream

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]
PATHS = DOCUMENT["paths"]
QUESTIONS = {
    name: example["value"]
    for name, example in PATHS["/compare"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ].items()
}
REFUSAL_STATUSES = {"400", "401", "404", "405", "408", "413", "415", "421", "429", "503"}

TIMINGS = Timings(
    queue_ms=0.0, connect_ms=1.5, first_byte_ms=2.0, first_token_ms=None, duration_ms=3.25
)
USAGE = Usage(input_tokens=1, output_tokens=2, reasoning_tokens=0, estimated=True)
EVENTS: dict[str, Event] = {
    "start": Start(model="a", provider="p", parameters={"max_tokens": 1, "stream": True}),
    "simulated start": Start(model="a", provider="sim", parameters={}, simulated=True),
    "queued": Queued(model="a", ahead=3),
    "fallback": Fallback(model="a", asked="b", provider="p", parameters={}, code="overloaded"),
    "simulated fallback": Fallback(
        model="a", asked="sim:b", provider="sim", parameters={}, simulated=True, code=None
    ),
    "chunk": Chunk(model="a", content="é\n\u2028"),
    "reasoning": Reasoning(model="a", content="hm"),
    "progress": Progress(model="a", fraction=0.5, tokens=7),
    "progress of nobody knows what": Progress(model="a", fraction=None, tokens=7),
    "error chunk": ErrorChunk(model="a", content="Error: Rate limited"),
    "done": Done(
        model="a",
        error=False,
        code=None,
        finish_reason="stop",
        timings=TIMINGS,
        usage=USAGE,
        cost_usd=0.25,
        cost_estimated=True,
        chunks=3,
        attempts=1,
    ),
    "done by another": Done(
        model="a",
        error=False,
        code=None,
        finish_reason="stop",
        timings=TIMINGS,
        usage=USAGE,
        cost_usd=None,
        chunks=3,
        attempts=2,
        answered_by="b",
    ),
    "failed done": Done(
        model="a",
        error=True,
        code="truncated",
        finish_reason=None,
        timings=TIMINGS,
        usage=None,
        cost_usd=None,
        chunks=0,
        attempts=2,
    ),
    "stopped done": Done(
        model="a",
        error=True,
        code="cancelled",
        finish_reason=None,
        timings=TIMINGS,
        usage=USAGE,
        cost_usd=None,
        chunks=1,
        attempts=1,
        tokens_per_second=12.5,
        stopped_by="first_k",
    ),
    "complete": Complete(
        metadata=Metadata(
            input_length=1,
            models_requested=1,
            models_successful=1,
            models_failed=0,
            timestamp="2025-01-01T00:00:00+00:00",
            processing_time_ms=3,
            conversation_message_count=0,
            is_extended_interaction=False,
            comparison_id="x",
            usage=USAGE,
            cost_usd=None,
            slowest_model_ms=3.0,
            sum_of_models_ms=3.0,
            speedup=1.0,
        )
    ),
}


def problems(instance: object, schema: dict[str, Any]) -> list[str]:
    """What is wrong with `instance`, the document's components being at hand."""
    rooted = {**schema, "components": DOCUMENT["components"]}
    return [error.message for error in OAS32Validator(rooted).iter_errors(instance)]


def problems_of_item(data: str) -> list[str]:
    """The same for one item of the stream, its string and the JSON inside it.

    A validator takes `contentSchema` for a note and does not look into the string, so we do.
    """
    item_schema = PATHS["/compare-stream"]["post"]["responses"]["200"]["content"][
        "text/event-stream"
    ]["itemSchema"]
    inside = SCHEMAS["StreamItem"]["properties"]["data"]
    assert item_schema == {"$ref": "#/components/schemas/StreamItem"}
    assert inside["contentMediaType"] == "application/json"
    return [
        *problems({"data": data}, item_schema),
        *problems(json.loads(data), inside["contentSchema"]),
    ]


def items(stream: bytes) -> Iterator[str]:
    decoder = Decoder()
    yield from (event.data for event in decoder.feed(stream))
    assert decoder.end() is None


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference points to, or the part itself."""
    if "$ref" not in part:
        return part
    found: Any = DOCUMENT
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return cast("dict[str, Any]", found)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in PATHS.items():
        for method, operation in item.items():
            if method != "servers":
                yield path, method, operation


@pytest.fixture
def client() -> Client:
    """Of an application that is not started: enough for all that needs no provider."""
    return create_app(Settings()).test_client()


# --- the document -----------------------------------------------------------------------------


def test_the_document_is_valid_openapi_3_2() -> None:
    assert DOCUMENT["openapi"] == "3.2.0"
    assert [str(error) for error in OpenAPIV32SpecValidator(DOCUMENT).iter_errors()] == []


def test_each_route_of_the_application_is_described_and_nothing_else() -> None:
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in create_app(Settings()).url_map.iter_rules()
        if not rule.rule.startswith(("/api/", "/docs", "/openapi.json", "/web/"))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations()} == served


def test_each_described_route_is_also_there_under_each_server() -> None:
    rules = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for rule in create_app(Settings()).url_map.iter_rules()
    }
    described = {
        server["url"].rstrip("/") + path
        for path, item in PATHS.items()
        for server in item.get("servers", DOCUMENT["servers"])
    }
    assert {"/models", "/api/models", "/metrics"} <= described
    assert described <= rules


def test_no_schema_forbids_fields_that_it_does_not_name() -> None:
    forbidding = re.compile(r'"(additional|unevaluated)Properties":\s*false')
    assert forbidding.search(json.dumps(DOCUMENT)) is None


def test_the_error_codes_are_complete() -> None:
    assert set(SCHEMAS["ErrorCode"]["enum"]) == ERROR_CODES
    reference = {"$ref": "#/components/schemas/ErrorCode"}
    assert SCHEMAS["Done"]["properties"]["code"]["anyOf"][0] == reference
    assert SCHEMAS["Compared"]["properties"]["errors"]["additionalProperties"] == reference


def test_what_is_sent_is_required_except_what_may_be_unset() -> None:
    optional = {
        (name, field)
        for name, schema in SCHEMAS.items()
        if name not in {"QuestionBody", "Turn"}
        for field in schema.get("properties", {})
        if field not in schema["required"]
    }
    assert optional == {
        ("Start", "simulated"),
        ("Fallback", "simulated"),
        ("Done", "answered_by"),
        ("Done", "cost_estimated"),
    }
    assert '"default"' not in json.dumps({**SCHEMAS, "QuestionBody": None, "Turn": None})


def test_only_what_has_no_default_is_required_of_a_question() -> None:
    assert SCHEMAS["QuestionBody"]["required"] == ["input_data", "models"]
    assert SCHEMAS["Turn"]["required"] == ["role", "content"]


def test_a_field_that_holds_one_value_is_constant() -> None:
    assert SCHEMAS["Done"]["properties"]["type"] == {"const": "done", "type": "string"}
    assert SCHEMAS["ErrorChunk"]["properties"]["error"] == {"const": True}


def test_what_the_source_says_of_a_field_is_its_description() -> None:
    described = SCHEMAS["Usage"]["properties"]["output_tokens"]["description"]
    assert described == "All tokens that the model wrote, the reasoning among them."


def test_each_component_is_used() -> None:
    used = set(re.findall(r'"#/components/(\w+/\w+)"', json.dumps(DOCUMENT)))
    for _, _, operation in operations():
        used |= {f"securitySchemes/{way}" for ways in operation.get("security", []) for way in ways}
    there = {f"{kind}/{name}" for kind, found in DOCUMENT["components"].items() for name in found}
    assert used == there


# --- the stream -------------------------------------------------------------------------------


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_an_event_as_it_is_written_is_what_the_document_says(event: Event) -> None:
    (item,) = items(encode(event))
    assert problems_of_item(item) == []


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_without_one_of_its_fields_is_not(name: str) -> None:
    whole = msgspec.to_builtins(EVENTS[name])
    # An error chunk without `error` is a chunk; the others are there only when there is need.
    sometimes = {"simulated", "answered_by", "cost_estimated"}
    sometimes |= {"error"} if name == "error chunk" else set()
    for field in whole.keys() - sometimes:
        part = {key: value for key, value in whole.items() if key != field}
        assert problems_of_item(json.dumps(part)), field


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "finished"},
        {"type": "chunk"},
        {"code": "no_such_code"},
        {"error": "no"},
        {"timings": None},
        {"chunks": 1.5},
    ],
    ids=json.dumps,
)
def test_a_wrong_event_is_not_what_the_document_says(changed: dict[str, Any]) -> None:
    wrong = msgspec.to_builtins(EVENTS["done"]) | changed
    assert problems_of_item(json.dumps(wrong))


def test_fields_of_a_later_version_are_no_mistake() -> None:
    later = msgspec.to_builtins(EVENTS["chunk"]) | {"language": "en"}
    assert problems_of_item(json.dumps(later)) == []


def test_the_example_of_a_stream_is_a_stream() -> None:
    content = PATHS["/compare-stream"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    stream = content["examples"]["short"]["value"].encode()
    events = [json.loads(item) for item in items(stream)]
    assert [problems_of_item(item) for item in items(stream)] == [[]] * len(events)
    assert stream.count(PING) == 1  # a comment stands among them, and is no item
    models = [event["model"] for event in events if event["type"] == "start"]
    check_stream(stream, models)


# --- questions and refusals -------------------------------------------------------------------


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_example_of_a_question_may_be_asked(name: str) -> None:
    body = QUESTIONS[name]
    assert problems(body, SCHEMAS["QuestionBody"]) == []
    question = parse_question(json.dumps(body).encode(), max_models=9)
    assert [entry.requested for entry in question.entries] == body["models"]


def test_every_example_is_as_its_schema_says() -> None:
    seen = 0
    for _, _, operation in operations():
        for response in map(resolved, operation["responses"].values()):
            for content in response["content"].values():
                for example in content.get("examples", {}).values():
                    if "schema" in content:
                        assert problems(example["value"], content["schema"]) == []
                        seen += 1
    assert seen > 20


def test_both_ways_to_ask_name_every_refusal_of_the_contract() -> None:
    for path in ("/compare-stream", "/compare"):
        assert set(PATHS[path]["post"]["responses"]) >= {"200", *REFUSAL_STATUSES}


def test_every_refusal_has_the_one_form_and_an_example_of_each_code() -> None:
    for _, _, operation in operations():
        for status in operation["responses"].keys() - {"200", "202"}:
            response = resolved(operation["responses"][status])
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Refused"}
            assert content["examples"]
            for code, example in content["examples"].items():
                assert list(example["value"]) == ["detail", "code"]
                assert example["value"]["code"] == code
                assert f"`{code}`" in DOCUMENT["info"]["description"]
            headers = {
                "401": {"WWW-Authenticate"},
                "405": {"Allow"},
                "429": {"Retry-After"},
                "503": {"Retry-After"},
            }
            assert set(response.get("headers", {})) == headers.get(status, set())


def refusal_example(status: int, code: str) -> dict[str, str]:
    response = resolved(PATHS["/compare"]["post"]["responses"][str(status)])
    example = response["content"]["application/json"]["examples"][code]["value"]
    return cast("dict[str, str]", example)


ASKED = {"input_data": "x", "models": ["sim:swift"]}


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("invalid_json", "{"),
        ("invalid_request", json.dumps({**ASKED, "temperature": 3})),
        ("input_required", json.dumps({**ASKED, "input_data": " "})),
        ("input_too_long", json.dumps({**ASKED, "input_data": "x" * 5001})),
        ("models_required", json.dumps({**ASKED, "models": []})),
        ("too_many_models", json.dumps({**ASKED, "models": ["m"] * 10})),
        ("invalid_model", json.dumps({**ASKED, "models": [""]})),
        ("too_many_images", json.dumps({**ASKED, "images": ["x"] * 9})),
        ("invalid_image", json.dumps({**ASKED, "images": ["https://example.org/a.png"]})),
    ],
)
def test_a_bad_question_is_refused_in_the_words_of_the_example(code: str, body: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_question(body.encode(), max_models=9)
    example = refusal_example(400, code)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert refused.value.detail == example["detail"]


@pytest.mark.parametrize(
    ("status", "code", "method", "path", "content_type", "body"),
    [
        (404, "not_found", "GET", "/nowhere", "", b""),
        (404, "not_found", "GET", "/docs/redoc.js", "", b""),
        (405, "method_not_allowed", "GET", "/compare", "", b""),
        (413, "body_too_large", "POST", "/compare", "application/json", b" " * (2**20 + 1)),
        (415, "not_json", "POST", "/compare", "text/plain", b"{}"),
    ],
)
async def test_the_application_refuses_in_the_words_of_the_example(
    client: Client,
    status: int,
    code: str,
    method: str,
    path: str,
    content_type: str,
    body: bytes,
) -> None:
    send = {"GET": client.get, "POST": client.post}[method]
    response = await send(path, headers={"Content-Type": content_type}, data=body)
    assert response.status_code == status
    assert await response.get_json() == refusal_example(status, code)
    assert ("Allow" in response.headers) == (status == 405)


async def test_a_body_that_does_not_arrive_is_refused_in_the_words_of_the_example(
    client: Client, autojump_clock: MockClock
) -> None:
    request = client.request(
        "/compare", method="POST", headers={"Content-Type": "application/json"}
    )
    async with request as connection:
        await connection.send(b'{"input')
    response = await connection.as_response()
    assert response.status_code == 408
    assert await response.get_json() == refusal_example(408, "request_timeout")
    assert trio.current_time() == 10


# --- the service, for real --------------------------------------------------------------------


@asynccontextmanager
async def open_service(app: QuartTrio) -> AsyncIterator[QuartTrio]:
    """`app`, started; its providers are closed at the end."""
    async with trio.open_nursery() as app.nursery:
        await app.startup()
        yield app
        app.nursery.cancel_scope.cancel("the test is over")


def app_with_the_simulator() -> QuartTrio:
    """As it is without a configuration, but a thousand times as fast."""
    quick = ProviderSettings(dialect="simulated", speed=1000)
    return create_app(Settings(providers={"sim": quick}))


async def answered(
    app: QuartTrio, path: str, question: object = None
) -> tuple[int | None, dict[str, str], bytes]:
    """The status, headers and body of one request; a POST when there is a question."""
    method = "GET" if question is None else "POST"
    accept = {"Accept": "application/json"}
    async with open_exchange(
        app, path, method=method, json_body=question, headers=accept
    ) as exchange:
        body = await exchange.read()
        return exchange.status, exchange.headers, body


@pytest.mark.parametrize("path", [path for path, item in PATHS.items() if "get" in item])
async def test_what_can_be_looked_at_looks_as_described(path: str) -> None:
    async with open_service(app_with_the_simulator()) as app:
        await answered(app, "/compare", QUESTIONS["one_of_them_fails"])
        status, headers, body = await answered(app, path)
    media_type = headers["content-type"].partition(";")[0]
    described = PATHS[path]["get"]["responses"]["200"]["content"][media_type]
    assert status == 200
    value = json.loads(body) if media_type == "application/json" else body.decode()
    assert problems(value, described["schema"]) == []


@pytest.mark.parametrize("path", ["/compare", "/compare-stream"])
@pytest.mark.parametrize("name", QUESTIONS)
async def test_the_answer_to_an_example_is_as_described(name: str, path: str) -> None:
    async with open_service(app_with_the_simulator()) as app:
        status, headers, body = await answered(app, path, QUESTIONS[name])
    assert status == 200
    if path == "/compare":
        assert problems(json.loads(body), SCHEMAS["Compared"]) == []
    else:
        assert [found for item in items(body) for found in problems_of_item(item)] == []
    for header, described in PATHS[path]["post"]["responses"]["200"]["headers"].items():
        assert problems(headers[header.lower()], described["schema"]) == []


async def test_a_model_that_nobody_has_is_refused_in_the_words_of_the_example() -> None:
    async with open_service(app_with_the_simulator()) as app:
        status, _, body = await answered(app, "/compare", {**ASKED, "models": ["sim:nobody"]})
    assert status == 400
    assert json.loads(body) == refusal_example(400, "model_not_found")


async def test_a_spent_allowance_is_refused_in_the_words_of_the_example() -> None:
    settings = Settings(limits=Limits(max_models=50, daily_model_responses=50))
    async with open_service(app_for(Script("s", (0, "Hi")), settings=settings)) as app:
        await answered(app, "/compare", {**ASKED, "models": ["s:a"] * 48})
        status, headers, body = await answered(app, "/compare", {**ASKED, "models": ["s:a"] * 3})
    assert status == 429
    assert json.loads(body) == refusal_example(429, "daily_limit_reached")
    assert int(headers["retry-after"]) >= 1


async def test_a_full_service_refuses_in_the_words_of_the_example() -> None:
    settings = Settings(limits=Limits(max_comparisons=1))
    async with (
        open_service(app_for(Script("s", (0, Stall())), settings=settings)) as app,
        open_exchange(app, "/compare-stream", json_body=ASKED) as first,
    ):
        await first.next_body()
        status, headers, body = await answered(app, "/compare", ASKED)
    assert status == 503
    assert json.loads(body) == refusal_example(503, "busy")
    assert headers["retry-after"] == "1"


# --- the page ---------------------------------------------------------------------------------


async def test_the_document_is_served_as_it_is(client: Client) -> None:
    response = await client.get("/openapi.json")
    assert response.content_type == "application/json"
    assert await response.get_json() == DOCUMENT


async def test_the_page_has_all_that_it_asks_for_and_asks_no_other_host(
    client: Client,
) -> None:
    page = await client.get("/docs")
    html = await page.get_data(as_text=True)
    asked = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert sorted(asked) == sorted([*(f"docs/{name}" for name in ASSETS), "openapi.json", "data:,"])
    for path in asked:
        if not path.startswith("data:"):
            found = await client.get(f"/{path}")
            assert found.status_code == 200
            assert found.content_type in {*ASSETS.values(), "application/json"}
            assert found.headers["X-Content-Type-Options"] == "nosniff"
    ours = html + await (await client.get("/docs/docs.js")).get_data(as_text=True)
    assert not re.search(r"https?:|//[a-z]", ours)
    assert not re.search(r"<script>|<style|\bon\w+=|style=", html)


async def test_the_page_may_not_reach_beyond_its_own_host(client: Client) -> None:
    policy = (await client.get("/docs")).headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives.pop("default-src") == "'none'"
    assert directives.pop("img-src") == "'self' data:"
    assert set(directives.values()) == {"'self'", "'none'"}
    assert directives["script-src"] == directives["connect-src"] == "'self'"


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger.js", "/openapi.json"])
async def test_what_a_browser_already_has_is_not_sent_again(client: Client, path: str) -> None:
    first = await client.get(path)
    again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"
    assert again.status_code == 304
    assert await again.get_data(as_text=False) == b""
