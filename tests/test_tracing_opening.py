"""Whether there are traces at all, by the environment; and what the libraries may say of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.typing import EventDict

from service import __version__
from service.testing import Script, open_wire
from service.tracing import OFF, open_tracing
from service.tracing.propagation import is_wanted
from service.tracing.words import Forwarded
from tests.asking import comparison
from tests.calling import response
from tests.traced import SCOPE

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HERE = {ENDPOINT: "http://127.0.0.1:9"}
TAKEN = response(media_type="application/x-protobuf")
LIBRARIES = ("opentelemetry", "urllib3")


@pytest.fixture(autouse=True)
def libraries_speak_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(each.handlers, each.propagate) for each in loggers]
    yield
    for each, (handlers, propagate) in zip(loggers, before, strict=True):
        each.handlers, each.propagate = handlers, propagate


def set_all(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {ENDPOINT: "  "},
        {**HERE, "OTEL_SDK_DISABLED": "true"},
        {**HERE, "OTEL_SDK_DISABLED": " TRUE "},
        {**HERE, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "a", "OTEL_TRACES_SAMPLER": "always_on"},
    ],
    ids=str,
)
async def test_traces_that_nobody_asks_for_are_off_without_a_word(
    variables: dict[str, str], log_lines: list[EventDict]
) -> None:
    async with open_tracing(variables) as tracing:
        assert tracing is OFF
    assert log_lines == []


SECRET = "secret0of1the2receiver"


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        (
            {ENDPOINT: f"collector:{SECRET}"},
            f"{ENDPOINT} is no address such as http://127.0.0.1:4318",
        ),
        ({ENDPOINT: "unix:///run/otel"}, f"{ENDPOINT} is no address such as http://127.0.0.1:4318"),
        ({ENDPOINT: "http://[::1"}, f"{ENDPOINT} is no address such as http://127.0.0.1:4318"),
        (
            {**HERE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "no"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no address such as http://127.0.0.1:4318",
        ),
        (
            {**HERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf, the only one there (port 4318 as a "
            "rule)",
        ),
        (
            {**HERE, "OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER is neither otlp nor none, and no other is there",
        ),
        (
            {**HERE, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            "a variable of OpenTelemetry's: ValueError",
        ),
    ],
    ids=str,
)
async def test_a_mistake_is_one_line_that_shows_no_value_and_the_service_serves(
    variables: dict[str, str],
    why: str,
    log_lines: list[EventDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, variables)
    async with open_tracing(variables) as tracing:
        assert tracing is OFF
    [line] = log_lines
    assert line == {"event": "traces are off", "log_level": "warning", "why": why}


async def sent_by(variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a receiver gets of one comparison, with these variables besides its address."""
    async with open_wire(TAKEN) as receiver:
        environ = {ENDPOINT: receiver.base_url.removesuffix("/v1"), **variables}
        set_all(monkeypatch, environ)
        with trio.fail_after(10):
            async with (
                open_tracing(environ) as tracing,
                comparison(Script("a", (0, "x")), trace=tracing.of(SCOPE)).open() as inbox,
            ):
                assert [event async for event in inbox]
    found: list[Any] = []
    for _, body in receiver.requests:
        found += ExportTraceServiceRequest.FromString(body).resource_spans
    return found


def attributes(sent: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in sent.resource.attributes}


async def test_what_has_not_been_sent_is_sent_when_serving_ends(
    monkeypatch: pytest.MonkeyPatch, log_lines: list[EventDict]
) -> None:
    [sent] = await sent_by({"OTEL_BSP_SCHEDULE_DELAY": "60000"}, monkeypatch)
    names = [span.name for scoped in sent.scope_spans for span in scoped.spans]
    assert sorted(names) == ["POST /compare-stream", "chat a"]
    who = attributes(sent)
    assert (who["service.name"], who["service.version"]) == ("compare-stream", __version__)
    assert [line["event"] for line in log_lines] == [
        "comparison began",
        "model ended",
        "comparison ended",
    ]


async def test_who_we_are_is_said_by_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "OTEL_SERVICE_NAME": "compare-eu",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=7,deployment.environment.name=staging",
    }
    [sent] = await sent_by(variables, monkeypatch)
    who = attributes(sent)
    assert (who["service.name"], who["service.version"]) == ("compare-eu", "7")
    assert who["deployment.environment.name"] == "staging"


@pytest.mark.parametrize("name", ["always_off", "traceidratio"])
async def test_the_sampler_is_chosen_by_the_usual_variables(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": "0"}
    assert await sent_by(variables, monkeypatch) == []


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, True),
        ("", True),
        ("tracecontext,baggage", True),
        ("b3, tracecontext", True),
        ("none", False),
        ("baggage", False),
    ],
)
def test_context_is_passed_on_unless_the_propagators_say_no(
    value: str | None, wanted: bool
) -> None:
    assert is_wanted({} if value is None else {"OTEL_PROPAGATORS": value}) is wanted


def said(words: str, *args: object, line: int = 1, **more: Any) -> logging.LogRecord:
    return logging.LogRecord("opentelemetry.x", logging.WARNING, "x.py", line, words, args, **more)


def test_a_library_says_the_same_once_in_a_minute_and_how_often_it_did_not(
    log_lines: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    heard = Forwarded(())
    for number in range(500):
        heard.handle(said("Failed to export: %s", number, exc_info=None))
    heard.handle(said("something else", line=2, exc_info=None))
    now += 60
    heard.handle(said("Failed to export: again", exc_info=None))
    assert [(line["words"], line.get("unsaid")) for line in log_lines] == [
        ("Failed to export: 0", None),
        ("something else", None),
        ("Failed to export: again", 499),
    ]
    assert all(
        (line["event"], line["log_level"], line["library"])
        == ("traces", "warning", "opentelemetry.x")
        for line in log_lines
    )


def test_a_librarys_words_are_one_line_without_a_traceback_or_a_key(
    log_lines: list[EventDict],
) -> None:
    heard = Forwarded([SECRET, f"x-key={SECRET}", "ab"])
    fault = RuntimeError(f"at http://me:{SECRET}@collector/\nsecond line")
    heard.handle(said("a bad header: x-key=%s", SECRET, exc_info=(type(fault), fault, None)))
    heard.handle(said("%d of %d", "no number", line=2, exc_info=None))
    first, second = log_lines
    assert first["words"] == (
        "a bad header: [hidden] (RuntimeError: at http://[hidden]@collector/ second line)"
    )
    assert second["words"] == "%d of %d"


async def test_headers_that_the_library_cant_read_are_not_quoted(
    log_lines: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It quotes them in a warning, and they hold the receiver's key."""
    await sent_by({"OTEL_EXPORTER_OTLP_HEADERS": f"Bearer {SECRET}"}, monkeypatch)
    assert [line["event"] for line in log_lines].count("traces") == 1
    assert SECRET not in str(log_lines)
