"""Traces on their way: to a receiver of OTLP, and to providers as `traceparent`. Real sockets.

What a trace says: test_tracing.py.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.application import create_app
from service.settings import ProviderSettings, Settings
from service.shared import Shared
from service.testing import Wire, open_server, open_wire
from service.testing.wire import Step
from service.tracing import OFF, Tracing
from tests.calling import DONE, HEAD, KEY, LAST, STOP, chunk, chunked, response
from tests.chaos.waiting import until
from tests.clients import asking
from tests.command import ROOT, environment, running, simulator_config
from tests.recordings_of_others import ANTHROPIC, GEMINI, OLLAMA
from tests.test_serve import url_of
from tests.traced import Recorder

PATIENCE = 60
"""Seconds for whatever a test waits for; never spent unless it fails."""
ENDS_WITHIN = 20
"""Seconds for an end that takes three here, and half a minute without our deadline."""
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
QUESTION, ANSWER = "ZQUESTION", "ZANSWER"
BUSY = response(b'{"error":{"message":"ZFAULT"}}', status="503 Busy", media_type="application/json")
WHOLE = HEAD + chunked(chunk(ANSWER), STOP, DONE) + LAST
TAKEN = response(media_type="application/x-protobuf")

Dialect = Literal["openai", "anthropic", "gemini", "ollama"]


def headers_of(wire: Wire) -> list[dict[str, str]]:
    """The headers of each request that came there."""
    return [
        {name.decode().lower(): value.decode() for name, value in head.headers}
        for head, _ in wire.requests
    ]


# --- to providers ---


async def asked(
    settings: Settings, tracing: Tracing, headers: Mapping[str, str], **fields: Any
) -> str:
    """The stream of one comparison."""
    app = create_app(settings)
    async with open_server(app) as url, httpx.AsyncClient() as client:
        shared = Shared.of(app)
        assert shared is not None
        assert shared.tracing is OFF  # no variable asks for traces here
        shared.tracing = tracing
        with trio.fail_after(PATIENCE):
            reply = await client.post(
                f"{url}/compare-stream", json=asking("acme:m", **fields), headers=headers
            )
    assert reply.status_code == 200
    return reply.text


def acme(wire: Wire, dialect: Dialect = "openai", **more: Any) -> Settings:
    provider = ProviderSettings(
        dialect=dialect, base_url=wire.base_url, api_key_env="UNREAD", **more
    )
    return Settings(providers={"acme": provider}, default_provider="acme", keys={"acme": KEY})


def answers(dialect: Dialect) -> bytes:
    recordings = {"anthropic": ANTHROPIC, "gemini": GEMINI, "ollama": OLLAMA}
    if dialect == "openai":
        return WHOLE
    media = "application/x-ndjson" if dialect == "ollama" else "text/event-stream"
    head = HEAD.replace(b"text/event-stream", media.encode())
    return head + chunked(*(block.raw for block in recordings[dialect][0].blocks)) + LAST


@pytest.mark.parametrize(
    ("dialect", "more"),
    [
        ("openai", {}),
        ("openai", {"transport": "httpx"}),
        ("anthropic", {}),
        ("gemini", {}),
        ("ollama", {}),
    ],
    ids=str,
)
async def test_each_attempt_carries_the_models_span_to_the_provider(
    dialect: Dialect, more: Mapping[str, Any]
) -> None:
    recorder = Recorder()
    given = {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "who=me"}
    async with open_wire(answers=[[BUSY], [answers(dialect)]]) as wire:
        streamed = await asked(acme(wire, dialect, **more), recorder.tracing, given)
    assert '"attempts":2' in streamed
    [model] = recorder.models.values()
    assert model.context is not None
    expected = f"00-{model.context.trace_id:032x}-{model.context.span_id:016x}-01"
    assert expected.startswith(PARENT[:36])
    for headers in headers_of(wire):
        assert headers["traceparent"] == expected
        assert headers["tracestate"] == "vendor=1"
        assert "baggage" not in headers
    assert len(wire.requests) == 2
    said = model.attributes or {}
    assert said["server.address"] == "127.0.0.1"
    assert said["server.port"] == int(wire.base_url.split(":")[2].removesuffix("/v1"))


async def test_no_trace_is_passed_on_while_traces_are_off_or_nobody_wants_it() -> None:
    for tracing in (OFF, Recorder(propagates=False).tracing):
        async with open_wire(WHOLE) as wire:
            await asked(acme(wire), tracing, {"traceparent": PARENT, "tracestate": "a=1"})
        [headers] = headers_of(wire)
        assert not {"traceparent", "tracestate"} & set(headers)


async def test_a_caller_that_is_not_recorded_is_passed_on_as_such() -> None:
    recorder = Recorder()
    async with open_wire(WHOLE) as wire:
        await asked(acme(wire), recorder.tracing, {"traceparent": PARENT[:-2] + "00"})
    assert not recorder.ended
    [headers] = headers_of(wire)
    assert headers["traceparent"].startswith(PARENT[:36])
    assert headers["traceparent"].endswith("-00")


# --- to a receiver ---


def sent_to(receiver: Wire | None) -> dict[str, str]:
    """An environment with this receiver, or one that is not there; told of spans at once."""
    address = receiver.base_url.removesuffix("/v1") if receiver else "http://127.0.0.1:9"
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        # By itself the library then holds up the end for as long as it ever does, which is 30 s.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
    }


@asynccontextmanager
async def serving(
    folder: Path, settings: str = "", **environ: str
) -> AsyncIterator[tuple[trio.Process, str]]:
    """The service as a process, the simulator in a hurry, and its address."""
    more: Any = environ
    config = simulator_config(folder, speed=100, more=f"[catalogue]\nrefresh = 0\n{settings}")
    arguments = ("--bind", "127.0.0.1:0", "--config", config)
    with trio.fail_after(PATIENCE):
        async with running("serve", *arguments, **more) as process:
            yield process, await url_of(process)


async def ended(process: trio.Process) -> list[dict[str, Any]]:
    """Stop it; what it had logged. Fails for a line that is none of ours."""
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    said = b"".join([bytes(data) async for data in process.stderr]).decode()
    assert await process.wait() == 0
    lines = [line for line in said.splitlines() if not line.startswith("compare-stream: stopping")]
    return [json.loads(line) for line in lines]


def others(log: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines that are no comparison's."""
    usual = ("comparison began", "model ended", "comparison ended", "asked again", "draining")
    return [line for line in log if line["event"] not in usual]


def spans_at(wire: Wire) -> tuple[list[Span], dict[str, str]]:
    """What a receiver has been sent, and who sent it."""
    spans: list[Span] = []
    resource: dict[str, str] = {}
    for head, body in wire.requests:
        assert head.target == b"/v1/traces"
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {a.key: a.value.string_value for a in sent.resource.attributes}
            for scoped in sent.scope_spans:
                assert scoped.scope.name == "compare-stream"
                spans += scoped.spans
    return spans, resource


async def compare(url: str, *models: str, **fields: Any) -> str:
    async with httpx.AsyncClient() as client:
        reply = await client.post(
            f"{url}/compare-stream",
            json=asking(*models, input_data=QUESTION, **fields),
            headers={"traceparent": PARENT},
        )
    assert reply.status_code == 200
    assert reply.text.count('"complete"') == 1
    return reply.text


async def test_a_receiver_gets_the_whole_trace_and_nothing_that_anybody_wrote(
    tmp_path: Path,
) -> None:
    async with open_wire(TAKEN) as receiver, open_wire(answers=[[BUSY], [WHOLE]]) as provider:
        acme = (
            '[providers.acme]\ndialect = "openai"\napi_key_env = "ACME_API_KEY"\n'
            f'base_url = "{provider.base_url}"'
        )
        environ = sent_to(receiver) | {
            "ACME_API_KEY": KEY,
            # So all of it is sent at the very end, when the process has been told to go.
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-receiver=secret-of-the-receiver",
        }
        async with serving(tmp_path, acme, **environ) as (process, url):
            assert ANSWER in await compare(url, "acme:m", "sim:swift")
            log = await ended(process)
    for headers in headers_of(receiver):
        assert headers["x-receiver"] == "secret-of-the-receiver"
    spans, resource = spans_at(receiver)
    by_name = {span.name: span for span in spans}
    assert sorted(by_name) == ["POST /compare-stream", "chat m", "chat sim:swift"]
    assert len(spans) == 3
    whole, model = by_name["POST /compare-stream"], by_name["chat m"]
    assert (whole.kind, model.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert {span.trace_id.hex() for span in spans} == {PARENT[3:35]}
    assert whole.parent_span_id.hex() == PARENT[36:52]
    assert model.parent_span_id == by_name["chat sim:swift"].parent_span_id == whole.span_id
    for headers in headers_of(provider):
        assert headers["traceparent"] == f"{PARENT[:36]}{model.span_id.hex()}-01"
    assert [event.name for event in model.events] == [
        "attempt",
        "attempt_failed",
        "attempt",
        "first_token",
    ]
    times = [event.time_unix_nano for event in model.events]
    assert times == sorted(times)
    assert whole.start_time_unix_nano <= model.start_time_unix_nano <= times[0]
    assert times[-1] <= model.end_time_unix_nano <= whole.end_time_unix_nano
    assert (resource["service.name"], resource["service.version"]) == ("compare-stream", "0.1.0")
    sent = b"".join(body for _, body in receiver.requests)
    for secret in (QUESTION, ANSWER, "ZFAULT", KEY, "secret-of-the-receiver"):
        assert secret.encode() not in sent
    assert others(log) == []


HANGS: Sequence[Step] = ()
FAULTY: Sequence[Step] = (response(b"ZWORDS", status="500 No"),)


@pytest.mark.parametrize("steps", [HANGS, FAULTY], ids=["hangs", "faulty"])
async def test_a_receiver_with_a_fault_holds_up_no_stream_and_no_end(
    steps: Sequence[Step], tmp_path: Path
) -> None:
    async with (
        open_wire(*steps) as receiver,
        serving(tmp_path, **sent_to(receiver)) as (process, url),
    ):
        for _ in range(5):
            await compare(url, "sim:swift", "sim:terse")
        await until(lambda: receiver.requests, within=PATIENCE, what="a batch")
        await compare(url, "sim:swift")
        with trio.fail_after(ENDS_WITHIN):
            log = await ended(process)
    told = others(log)
    assert {line["event"] for line in told} == {"traces" if steps else "traces lost"}
    assert len(told) < 5
    assert "ZWORDS" not in str(told)


async def test_a_receiver_that_is_not_there_holds_up_no_stream_and_no_end(tmp_path: Path) -> None:
    async with serving(tmp_path, **sent_to(None)) as (process, url):
        await compare(url, "sim:swift")
        with trio.fail_after(ENDS_WITHIN):
            log = await ended(process)
    *tried, last = others(log)
    assert {line["event"] for line in tried} <= {"traces"}
    assert (last["event"], last["level"]) == ("traces lost", "warning")


async def test_without_the_extra_it_serves_and_says_what_to_install(tmp_path: Path) -> None:
    """A package that can't be imported stands in front of the installed one."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('not here')\n")
    environ = sent_to(None) | {"PYTHONPATH": str(tmp_path)}
    async with serving(tmp_path, **environ) as (process, url):
        await compare(url, "sim:swift")
        [line] = others(await ended(process))
    assert (line["event"], line["level"]) == ("traces are off", "warning")
    assert "pip install 'compare-stream[otel]'" in line["why"]


IMPORTED = """
import sys, trio
from service.app import app
from service.testing import open_app, open_exchange

async def main():
    question = {"input_data": "Why?", "models": ["sim:swift"]}
    headers = {"traceparent": "%s"}
    async with open_app(app):
        async with open_exchange(app, "/compare", json_body=question, headers=headers) as asked:
            assert b"sim:swift" in await asked.read()
    print(sorted(name for name in sys.modules if name.partition(".")[0] in
        ("opentelemetry", "google", "requests", "urllib3")))

trio.run(main)
"""


async def test_by_default_nothing_of_the_libraries_is_imported() -> None:
    with trio.fail_after(PATIENCE):
        ran = await trio.run_process(
            [sys.executable, "-c", IMPORTED % PARENT],
            cwd=ROOT,
            env=environment(),
            capture_stdout=True,
            capture_stderr=True,
        )
    assert ran.stdout.decode().strip() == "[]"
