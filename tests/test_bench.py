"""The benchmark's machinery: every server is asked, every byte is looked at. No figure counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from math import nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.bench import Bench, Figure, Goal
from tests.bench.charts import draw
from tests.bench.checking import checked
from tests.bench.load import TEXT, Load, Pace, numbered
from tests.bench.measuring import Measured, measured
from tests.bench.processes import DidNotStart, Process, started
from tests.bench.recording import Recording, WrongStream, without_framing
from tests.bench.results import as_json
from tests.bench.servers import Server, serving
from tests.bench.workloads import WORKLOADS
from tests.command import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measured by means of Linux")

SMALL = Load(comparisons=3, models=2, pace=Pace(chunks=4, gap_ms=5))
MODELS = SMALL.names
CHUNKS = SMALL.pace.chunks


@pytest.fixture(scope="module")
def provider() -> Iterator[Process]:
    with started("tests.bench.provider") as process:
        yield process


# --- each server is asked, and its streams are right ---


@pytest.mark.parametrize(
    "server", [Server.SERVICE, Server.ASYNCIO, Server.POOL, Server.SEQUENTIAL], ids=str
)
def test_each_server_streams_what_it_has_to(server: Server, provider: Process) -> None:
    loads = [SMALL, replace(SMALL, at_once=1, pace=Pace(chunks=300, gap_ms=0))]
    if server is Server.SERVICE:
        loads.append(replace(SMALL, http2_connections=2))
    with serving(server, provider.port, ROOT) as process:
        for load in loads:
            row = measured("smoke", str(server), process, provider, load, patience=10)
            assert row.wrong == []
            assert row.chunks == load.chunks
            assert row.cpu_us_per_chunk > 0
            assert row.memory_peak_kib >= row.memory_before_kib > 0
            assert 1 <= row.most_at_once <= load.comparisons


def test_a_workload_says_its_figures(
    provider: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(provider, ROOT, quick=True)
    WORKLOADS["C"].run(bench)
    assert not bench.wrong
    told = json.loads(as_json(bench))
    assert len(told["figures"]) == 6
    assert [figure["met"] is None for figure in told["figures"]] == [False] * 3 + [True] * 3
    assert told["machine"]["processors"] > 0
    assert "service" in capsys.readouterr().out
    assert draw(bench.rows, tmp_path) == []  # none of them shows C


def test_a_server_that_does_not_answer_in_time_has_no_figures(provider: Process) -> None:
    endless = Load(comparisons=1, models=1, pace=Pace(chunks=100, gap_ms=1000))
    with serving(Server.SEQUENTIAL, provider.port, ROOT) as process:
        row = measured("smoke", "slow", process, provider, endless, patience=0.3)
    assert row.wrong == ["the stream was cut"]
    assert str(row.cpu_us_per_chunk) == str(row.added_p50_ms) == "nan"


def test_a_server_that_is_gone_has_no_figures(provider: Process) -> None:
    with serving(Server.SEQUENTIAL, provider.port, ROOT) as process:
        process.running.kill()
        process.running.wait()
        row = measured("smoke", "gone", process, provider, SMALL, patience=1)
    assert row.wrong == ["the process has ended with -9: "] * SMALL.comparisons
    assert str(row.cpu_us_per_chunk) == "nan"


def test_a_process_that_does_not_start_says_why() -> None:
    with pytest.raises(DidNotStart, match="No module named"), started("tests.bench.nothing"):
        pytest.fail("it started")


# --- the client sees every fault ---


def block(**fields: object) -> bytes:
    return b"data: %s\n\n" % json.dumps(fields).encode()


def chunk(model: str, number: int) -> bytes:
    return block(model=model, type="chunk", content=(TEXT % (number, 1000)).decode())


def stream() -> list[bytes]:
    """The events of a comparison that is right: two models, whose chunks are mixed."""
    return [
        *(block(model=model, type="start") for model in MODELS),
        *(chunk(model, number) for number in range(CHUNKS) for model in MODELS),
        *(block(model=model, type="done", error=False) for model in MODELS),
        block(type="complete", metadata={}),
    ]


def recorded(events: Sequence[bytes], **fields: object) -> Recording:
    pieces = [(2000 + moment, event) for moment, event in enumerate(events)]
    recording = Recording(asked_at=1500, status=200, pieces=pieces, whole=True)
    for name, value in fields.items():
        setattr(recording, name, value)
    return recording


def test_a_stream_that_is_right_passes() -> None:
    seen = checked(recorded([*stream()[:3], b": ping\n\n", *stream()[3:]]), MODELS, CHUNKS)
    assert len(seen.added) == len(seen.arrived) == 2 * CHUNKS
    assert seen.added[0] == 1002
    assert (seen.asked_at, seen.first_chunk_at) == (1500, 2002)


def test_an_event_has_come_when_its_last_byte_has() -> None:
    whole = b"".join(stream())
    for cut in range(1, len(whole)):
        recording = Recording(0, 200, [(2000, whole[:cut]), (3000, whole[cut:])], whole=True)
        seen = checked(recording, MODELS, CHUNKS)
        assert seen.arrived == sorted(seen.arrived)
        assert seen.ended_at == 3000


Doctor = Callable[[list[bytes]], object]
FIRST_CHUNK, SECOND_CHUNK, FIRST_DONE, COMPLETE = 2, 4, -3, -1
"""Places in `stream`; the first two are of the same model."""


def _swap(events: list[bytes], one: int, other: int) -> None:
    events[one], events[other] = events[other], events[one]


FAULTS: dict[str, Doctor] = {
    "a chunk lost": lambda events: events.pop(SECOND_CHUNK),
    "the last chunk lost": lambda events: events.pop(FIRST_DONE - 2),
    "a chunk doubled": lambda events: events.insert(SECOND_CHUNK, events[SECOND_CHUNK]),
    "chunks reordered": lambda events: _swap(events, FIRST_CHUNK, SECOND_CHUNK),
    "a chunk of another model": lambda events: events.insert(3, chunk("p:other", 0)),
    "a chunk behind its done": lambda events: _swap(events, FIRST_DONE, FIRST_DONE - 2),
    "a text changed": lambda events: events.__setitem__(
        FIRST_CHUNK, events[FIRST_CHUNK].replace(b"@", b"#")
    ),
    "an error": lambda events: events.insert(
        SECOND_CHUNK, block(model=MODELS[0], type="chunk", content="Error: no", error=True)
    ),
    "a done missing": lambda events: events.pop(FIRST_DONE),
    "a done doubled": lambda events: events.insert(FIRST_DONE, events[FIRST_DONE]),
    "a done with an error": lambda events: events.__setitem__(
        FIRST_DONE, block(model=MODELS[0], type="done", error=True)
    ),
    "a start missing": lambda events: events.pop(1),
    "a start doubled": lambda events: events.insert(1, events[0]),
    "starts in another order": lambda events: _swap(events, 0, 1),
    "a start behind a chunk": lambda events: _swap(events, 1, FIRST_CHUNK),
    "complete missing": lambda events: events.pop(),
    "complete before a done": lambda events: _swap(events, COMPLETE, COMPLETE - 1),
    "complete doubled": lambda events: events.append(events[COMPLETE]),
    "an unknown event": lambda events: events.insert(5, block(type="rumour")),
    "no JSON": lambda events: events.insert(5, b"data: {\n\n"),
    "no event": lambda events: events.insert(5, b"event: chunk\n\n"),
    "half an event": lambda events: events.append(b"data: "),
    "nothing": lambda events: events.clear(),
}


@pytest.mark.parametrize("doctor", FAULTS.values(), ids=FAULTS)
def test_a_stream_with_a_fault_is_found_wrong(doctor: Doctor) -> None:
    events = stream()
    doctor(events)
    with pytest.raises(WrongStream):
        checked(recorded(events), MODELS, CHUNKS)


@pytest.mark.parametrize("fields", [{"whole": False}, {"status": 503}], ids=str)
def test_a_response_that_was_cut_or_refused_is_found_wrong(fields: dict[str, object]) -> None:
    with pytest.raises(WrongStream):
        checked(recorded(stream(), **fields), MODELS, CHUNKS)


# --- the framing of HTTP/1.1 is taken off ---

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAMED = HEAD + b"5\r\nhello\r\n7\r\n\r\nworld\r\n0\r\n\r\n"


def test_the_framing_is_taken_off_wherever_the_reads_end() -> None:
    for cut in range(1, len(FRAMED)):
        recording = without_framing(0, [1, 2], [FRAMED[:cut], FRAMED[cut:]])
        assert recording.status == 200
        assert recording.whole
        assert [piece for _, piece in recording.pieces] == [b"hello", b"\r\nworld"]
        moments = [moment for moment, _ in recording.pieces]
        assert moments == sorted(moments)
        if cut > len(HEAD) + 9:
            assert moments[0] == 1


def test_a_body_without_its_end_is_not_whole() -> None:
    assert not without_framing(0, [1], [FRAMED[:-2]]).whole
    assert not without_framing(0, [1, 2], [FRAMED[:-9], b""]).whole


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"4\r\nhello\r\n0\r\n\r\n",
        FRAMED + b"more",
    ],
)
def test_other_framing_is_found_wrong(raw: bytes) -> None:
    with pytest.raises(WrongStream):
        without_framing(0, [1], [raw])


# --- what is made of the figures ---


def test_a_text_tells_number_and_moment() -> None:
    assert numbered((TEXT % (17, 123456789)).decode()) == (17, 123456789)
    assert numbered("17@123456789 ") is None


def test_a_goal_is_met_or_missed() -> None:
    goal = Goal(at_most=2)
    assert str(Figure(workload="A", name="n", value=2, goal=goal)).endswith("<= 2  met")
    assert str(Figure(workload="A", name="n", value=2.1, goal=goal)).endswith("<= 2  missed")
    assert Goal(at_least=10).met(10)
    assert "no figure" in str(Figure(workload="A", name="n", value=nan, goal=goal))


def empty_row() -> Measured:
    """A row without figures."""
    kinds: dict[str, Any] = {"str": "", "int": 1, "float": nan, "list[str]": [], "list[float]": []}
    return Measured(**{field.name: kinds[str(field.type)] for field in fields(Measured)})


def test_the_charts_are_drawn(tmp_path: Path) -> None:
    def row(workload: str, server: Server, comparisons: int, models: int = 9) -> Measured:
        return replace(
            empty_row(),
            workload=workload,
            server=str(server),
            comparisons=comparisons,
            models=models,
            cpu_us_per_chunk=10.0 * len(server),
            steady_us_per_chunk=8.0,
            wall_p50_s=2.0,
        )

    rows = [row(workload, server, 50) for workload in "AB" for server in Server]
    rows += [row("M", server, 1, models) for server in Server for models in (3, 6, 9)]
    rows += [row("G", Server.SERVICE, comparisons) for comparisons in (1, 10, 30, 100)]
    written = draw(rows, tmp_path)
    assert [path.name for path in written] == ["cpu-per-chunk.svg", "wall-clock.svg", "growth.svg"]
    for path in written:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert [child.tag.rpartition("}")[2] for child in root[:2]] == ["title", "desc"]
        assert "prefers-color-scheme: dark" in path.read_text()
