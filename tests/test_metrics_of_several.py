"""Several processes at one address: whichever is asked, the figures are those of all."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import trio
from structlog.testing import capture_logs

from service.edge.gate import when
from service.histogram import Histogram
from service.metrics import Metrics
from service.metrics.family import Family, Merge, merged
from service.metrics.siblings import Siblings, folder_of
from service.testing import Script, app_for, open_server
from tests.clients import ask
from tests.command import running
from tests.scraping import Figures, as_read, read
from tests.test_serve import url_of


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # short, as a socket's address must be
        yield Path(name)


def names_in(folder: Path, pattern: str = "*.figures") -> list[str]:
    return [path.name for path in folder.glob(pattern)]


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def may_be_locked(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


class Process:
    """One of several, with a count and a value of the moment."""

    def __init__(self, folder: Path, count: int, now: int = 0, merge: Merge = "sum") -> None:
        self.count = count
        self.now = now
        self.merge: Merge = merge
        self.siblings = Siblings(folder, self.collect)

    def collect(self) -> list[Family]:
        counter = Family("c", "counter", "")
        counter.set(self.count)
        gauge = Family("g", "gauge", "", merge=self.merge)
        gauge.set(self.now)
        return [counter, gauge]

    async def told(self) -> tuple[float, float]:
        figures = as_read(await self.siblings.figures())
        return figures.of("c_total"), figures.of("g")


@asynccontextmanager
async def alive(*processes: Process) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for process in processes:
            process.siblings.__enter__()
            nursery.start_soon(process.siblings.heed)
        await trio.testing.wait_all_tasks_blocked()
        try:
            yield
        finally:
            for process in processes:
                process.siblings.__exit__()
            nursery.cancel_scope.cancel("the test is over")


async def test_whoever_is_asked_tells_what_all_have_counted_until_now(folder: Path) -> None:
    one, other = Process(folder, 1, now=10), Process(folder, 100, now=20)
    async with alive(one, other):
        assert await one.told() == await other.told() == (101, 30)
        other.count, other.now = 200, 1
        assert await one.told() == (201, 11)


async def test_counts_stay_when_a_process_ends_and_values_of_the_moment_go(folder: Path) -> None:
    one, other, later = (Process(folder, count, now=count) for count in (1, 10, 100))
    async with alive(one):
        async with alive(other):
            assert await one.told() == (11, 11)
            other.count = 20
        assert await one.told() == (21, 1)
        async with alive(later):  # it adds up what the one that has ended had counted
            assert await later.told() == await one.told() == (121, 101)
            assert len(names_in(folder)) == 3, "two that live, and those that have gone"
        assert await one.told() == (121, 1)


async def test_counting_begins_anew_when_nobody_was_left(folder: Path) -> None:
    async with alive(Process(folder, 5)):
        assert len(names_in(folder)) == 1
    assert names_in(folder) == []
    later = Process(folder, 1)
    async with alive(later):
        assert await later.told() == (1, 0)


async def test_one_that_was_killed_is_counted_as_it_was_last(folder: Path) -> None:
    one, killed = Process(folder, 1), Process(folder, 10, now=3)
    async with alive(one):
        async with trio.open_nursery() as nursery:
            killed.siblings.__enter__()
            nursery.start_soon(killed.siblings.heed)
            assert await one.told() == (11, 3)
            nursery.cancel_scope.cancel("killed: what it counts from here on, nobody hears of")
        killed.siblings._held.close()
        killed.count = 1000
        assert await one.told() == (11, 0)


async def test_what_nobody_asked_for_is_written_now_and_then_for_the_case_of_a_kill(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.metrics.siblings.WRITTEN_EVERY", 0.01)
    process = Process(folder, 1)
    async with alive(process):
        process.count = 2
        with trio.fail_after(5):
            await when(lambda: counted_in(folder, process) == 2)


def counted_in(folder: Path, process: Process) -> float:
    name = process.siblings._name
    return as_read(Siblings(folder, list)._load(name)).of("c_total")


async def test_nobody_is_added_to_those_that_have_gone_while_all_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of the one and not yet removed of the other would be counted twice."""
    one = Process(folder, 1)
    could_be_added: list[bool] = []
    load = Siblings._load

    def looked(siblings: Siblings, name: str) -> list[Family]:
        could_be_added.append(may_be_locked(folder / "lock"))
        return load(siblings, name)

    async with alive(one):
        monkeypatch.setattr(Siblings, "_load", looked)
        await one.siblings.figures()
        monkeypatch.undo()
    assert could_be_added
    assert not any(could_be_added)


async def test_figures_are_read_whole_while_they_are_written(folder: Path) -> None:
    process = Process(folder, 1)
    async with alive(process):
        [name] = names_in(folder)
        reading = os.open(folder / name, os.O_RDONLY)
        try:
            await process.siblings._write()
            assert os.read(reading, 1), "what was there before is there to the end"
            assert os.fstat(reading).st_nlink == 0
        finally:
            os.close(reading)


async def test_what_was_counted_first_is_written_first(folder: Path) -> None:
    process = Process(folder, 1)
    siblings = process.siblings
    may_write, store = threading.Event(), siblings._store
    stored: list[float] = []

    def slowly(name: str, families: list[Family]) -> None:
        first = not stored
        stored.append(as_read(families).of("c_total"))
        if first:
            may_write.wait(5)
        store(name, families)

    with siblings:
        siblings._store = slowly  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(siblings._write)
            await trio.testing.wait_all_tasks_blocked()
            process.count = 2
            nursery.start_soon(siblings._write)
            await trio.testing.wait_all_tasks_blocked()
            process.count = 3
            may_write.set()
        assert stored == [1, 3], "the second counts when it is its turn"
        assert counted_in(folder, process) == 3


async def test_one_that_does_not_answer_is_counted_as_it_was_last(folder: Path) -> None:
    one, hangs = Process(folder, 1), Process(folder, 10)
    async with alive(one):
        with hangs.siblings:
            hangs.count = 20
            with trio.fail_after(10):
                assert (await one.told())[0] == 11


async def test_without_a_descriptor_left_the_bell_is_not_answered_and_nothing_ends(
    folder: Path,
) -> None:
    one = Process(folder, 1)
    async with alive(one):
        [bell] = [folder / name for name in names_in(folder, "*.bell")]
        with socket.socket(socket.AF_UNIX) as rings:
            with no_descriptor_left():
                rings.connect(str(bell))
                await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(5):
                await trio.lowlevel.wait_readable(rings)
            assert rings.recv(1) == b"", "answered when it could be again"
        assert await one.told() == (1, 0)


async def test_whoever_tidies_up_passes_over_the_folder_while_somebody_is_there(
    folder: Path,
) -> None:
    async with alive(Process(folder, 1)), alive(Process(folder, 1)):
        assert not may_be_locked(folder)
    assert may_be_locked(folder)


async def test_the_longest_of_several_is_told_where_a_sum_would_mean_nothing(folder: Path) -> None:
    one, other = Process(folder, 0, now=3, merge="max"), Process(folder, 0, now=5, merge="max")
    async with alive(one, other):
        assert await one.told() == (0, 5)


def test_histograms_are_added_bound_by_bound_and_not_to_those_of_other_bounds() -> None:
    def counted(*values: float, bounds: tuple[float, ...] = (1.0, 2.0)) -> list[Family]:
        histogram = Histogram(bounds)
        for value in values:
            histogram.observe(value)
        family = Family("h", "histogram", "", ("x",))
        family.set_histogram(histogram, "a")
        return [family]

    one, other = counted(0.5, 1.5, 9), counted(1, 2)
    figures = as_read(merged([one, other, counted(3, bounds=(1.0,)), counted()]))
    assert figures.buckets("h") == {"1.0": 2, "2.0": 2, "+Inf": 1}
    assert (figures.of("h_count", x="a"), figures.of("h_sum", x="a")) == (5, 14)
    assert as_read(one).of("h_count") == 3, "what was added to is as it was"


async def test_figures_of_another_version_are_not_added(folder: Path) -> None:
    one = Process(folder, 1)
    async with alive(one):
        (folder / "99-abc.figures").write_bytes(b"\xc1 nothing that we wrote")
        assert await one.told() == (1, 0)


def test_a_folder_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert folder_of("127.0.0.1:80").stat().st_mode & 0o777 == 0o700
    base = tmp_path / f"compare-stream-{os.getuid()}"
    base.chmod(0o770)
    with pytest.raises(PermissionError, match="open to others"):
        folder_of("127.0.0.1:80")
    for path in base.iterdir():
        path.rmdir()
    base.rmdir()
    base.symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        folder_of("127.0.0.1:80")


@pytest.mark.skipif(sys.platform != "linux", reason="there are no namespaces elsewhere")
def test_the_same_address_in_another_network_is_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    network = os.stat("/proc/self/ns/net").st_ino
    assert folder_of("127.0.0.1:80").name == f"127.0.0.1_80-{network}"


async def test_where_they_cannot_meet_each_tells_its_own_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    app = app_for(Script("a", (0, "x")))
    metrics = Metrics.of(app)
    assert metrics is not None
    with capture_logs() as lines:
        async with open_server(app), trio.open_nursery() as nursery:
            nursery.start_soon(metrics.keep, "127.0.0.1:80")
            await trio.testing.wait_all_tasks_blocked()
            await ask(app, "a:m")
            body, _ = await metrics.render("")
            nursery.cancel_scope.cancel("seen")
    assert read(body.decode()).of("compare_chunks_total") == 1
    [line] = [line for line in lines if line["event"] == "metrics of this process only"]
    assert line["log_level"] == "warning"


async def test_counts_that_can_not_be_gathered_any_more_fail_and_do_not_go_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    app = app_for(Script("a", (0, "x")))
    metrics = Metrics.of(app)
    assert metrics is not None
    async with open_server(app) as url, trio.open_nursery() as nursery:
        nursery.start_soon(metrics.keep, "127.0.0.1:80")
        await trio.testing.wait_all_tasks_blocked()
        shutil.rmtree(folder / f"compare-stream-{os.getuid()}")
        async with httpx.AsyncClient() as client:
            response = await client.get(f"{url}/metrics")
        assert response.status_code == 503
        assert "can't be gathered" in response.text
        nursery.cancel_scope.cancel("seen")


async def test_a_fault_in_what_is_measured_in_the_background_ends_no_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(_: Histogram) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr("service.metrics.shown.measure_lag", broken)
    metrics = Metrics.of(app_for(Script("a")))
    assert metrics is not None
    with capture_logs() as lines:
        await metrics.keep(None)
    assert [(line["event"], line["log_level"]) for line in lines] == [("metrics failed", "error")]


# --- with real processes ----------------------------------------------------------------------


async def scrape(url: str) -> Figures:
    """By a new connection each time, which the kernel deals to one of them."""
    async with httpx.AsyncClient() as client:
        return read((await client.get(f"{url}/metrics")).text)


async def compare(url: str) -> None:
    async with httpx.AsyncClient() as client:
        body = {"input_data": "q", "models": ["sim:swift", "sim:terse"]}
        response = await client.post(f"{url}/compare-stream", json=body, timeout=30)
        assert '"complete"' in response.text


async def test_processes_that_share_a_port_tell_the_sum_and_keep_it_when_one_leaves(
    folder: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as reserved:
        port = reserved.getsockname()[1]
    serve = ("serve", "--bind", f"127.0.0.1:{port}", "--reuse-port")
    meeting = str(folder)
    with trio.fail_after(40):
        async with running(*serve, TMPDIR=meeting) as one, running(*serve, TMPDIR=meeting) as other:
            url = await url_of(one)
            assert await url_of(other) == url
            async with trio.open_nursery() as nursery:
                for _ in range(12):
                    nursery.start_soon(compare, url)
            for _ in range(6):
                figures = await scrape(url)
                assert figures.of("compare_comparisons_ended_total", outcome="complete") == 12
                assert figures.of("compare_workers") == 2
            other.send_signal(signal.SIGTERM)
            assert await other.wait() == 0
            figures = await scrape(url)
            assert figures.of("compare_comparisons_ended_total", outcome="complete") == 12
            assert figures.of("compare_workers") == 1
            one.send_signal(signal.SIGTERM)
            assert await one.wait() == 0
