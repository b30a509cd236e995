"""Too little of something: descriptors, places, the processor, room for the log."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count

import trio

from tests.chaos.clients import connect
from tests.chaos.fault import fault, staged
from tests.chaos.namespace import (
    IN_NAMESPACE,
    INSIDE,
    OUTSIDE,
    in_namespace,
    open_namespace,
)
from tests.chaos.rows.client import milliseconds
from tests.chaos.scene import Answers, Scene, Stage, answers_in
from tests.chaos.service_under_test import Config, shell_with_descriptors
from tests.chaos.upstream import DONE, HEAD_CLOSE, Talk, counting, open_upstream, text_event
from tests.chaos.waiting import until

DESCRIPTORS = 128


@fault(
    "R-01",
    "too few descriptors",
    did=f"a limit of {DESCRIPTORS} descriptors, two comparisons of two models under way, then 500 "
    "clients that ask one model each",
    expected="what was admitted is whole; a model without a socket ends in `overloaded`; clients "
    "wait or are refused; afterwards everything is served again",
    short=True,
    config=Config(connect=3, first_token=5, idle=5),
    shell=tuple(shell_with_descriptors(DESCRIPTORS)),
    limit=40,
)
async def too_few_descriptors(scene: Scene) -> str:
    scene.expected_events.add("stray")  # Trio says in its own words that it can't accept
    scene.upstream.scripts["on"] = counting(100, gap=0.02)
    admitted = ["fake:on", "fake:on"]
    statuses: Counter[int] = Counter()
    codes: Counter[str | None] = Counter()

    async def ask_one() -> None:
        async with scene.h1() as client:
            await client.ask("fake:steady")
            body = await client.whole()
            statuses[client.status] += 1
            if client.status == 200:
                codes[answers_in(body, ["fake:steady"]).code("fake:steady")] += 1

    async def one() -> None:
        with trio.move_on_after(4), suppress(AssertionError, OSError, trio.BrokenResourceError):
            await ask_one()

    async with scene.h1() as first, scene.h1() as second:
        for client in (first, second):
            await client.ask(*admitted)
            await client.seen(b'"chunk"', times=4)
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(one)
            for client in (first, second):
                texts = answers_in(await client.whole(), admitted).texts
                assert all(text.split()[-1] == "100" for text in texts.values())
    said = [line for line in scene.service.stray if line[:1].isalpha()]
    foreign = [
        line for line in said if "Too many open files" not in line and "Traceback" not in line
    ]
    assert not foreign, foreign
    assert set(codes) <= {None, "overloaded"}, f"models ended in {codes}"
    await scene.healthy()
    told = ", ".join(f"{n} {code or 'whole'}" for code, n in codes.items())
    return f"admitted ones whole; answered {statuses[200]} ({told}), the rest not in 4 s"


@fault(
    "R-02",
    "every place is taken",
    did="max_comparisons 4: the canary's two and two more; ten further questions",
    expected="503 with `Retry-After` within 50 ms each, no provider asked; a place that becomes "
    "free is taken",
    short=True,
    config=Config(max_comparisons=4),
)
async def no_place_left(scene: Scene) -> str:
    times = []
    async with scene.h1() as first, scene.h1() as second:
        for client in (first, second):
            await client.ask("fake:endless")
            await client.seen(b'"chunk"')
        for _ in range(10):
            before = trio.current_time()
            status, headers, body = await scene.post("fake:ok")
            times.append(trio.current_time() - before)
            assert status == 503, status
            assert int(headers["retry-after"]) > 0
            assert json.loads(body)["code"] == "busy", body
        assert not scene.upstream.asked["ok"]
    await scene.upstream.quiet(within=1)
    await until(
        lambda: len(scene.service.lines("comparison ended")) == 2,
        within=1,
        what="the two comparisons have ended",
    )
    await scene.healthy()
    times.sort()
    # The middle one: a single late answer on a busy machine says nothing of the service.
    assert times[5] < 0.05, f"it took {milliseconds(times[5])}"
    return f"503 after {milliseconds(times[5])}, at most {milliseconds(times[-1])}"


@fault(
    "R-05",
    "the processor is taken",
    did="two processes that do nothing but compute, the service at nice 19, for 4 s",
    expected="later, but correct",
    config=Config(connect=5, first_token=10, idle=10, write_timeout=10),
    gap=20,
    limit=60,
)
async def starved(scene: Scene) -> str:
    os.setpriority(os.PRIO_PROCESS, scene.service.pid, 19)
    burner = "while True: pass"
    burners = [subprocess.Popen([sys.executable, "-c", burner]) for _ in range(2)]  # noqa: ASYNC220
    try:
        began = trio.current_time()
        answers = await scene.compare("fake:steady", "fake:steady", "fake:steady")
        took = trio.current_time() - began
        await trio.sleep(max(0, 4 - took))
    finally:
        for process in burners:
            process.kill()
            process.wait()
    assert all(answers.code(name) is None for name in answers.dones)
    assert all(text.split()[-1] == "25" for text in answers.texts.values())
    return f"3 of 3 whole after {took:.2f} s instead of 0.5 s"


async def served_without_a_log(
    stage: Stage, stderr: int, said: Callable[[], str] = lambda: ""
) -> str:
    """A service whose log can't be written still answers, and a canary hears nothing of it."""
    async with open_upstream() as upstream:
        config = Config()
        providers = {"fake": upstream.base_url}
        async with stage.service(config, providers, stderr=stderr) as service:
            scene = Scene(stage, service, upstream, config)
            async with stage.canary.watching(service.address) as watching:
                for _ in range(30):
                    with trio.fail_after(5):
                        await scene.compare(*["fake:ok"] * 9)
            report = watching.report
            assert not report.wrong, "; ".join(report.wrong)
            assert report.gap < 1, f"the canary was silent for {report.gap:.2f} s"
            assert service.alive
    return f"30 of 30 whole, the canary's longest gap {milliseconds(report.gap)}{said()}"


@staged(
    "R-06",
    "no room for the log",
    did="standard error is /dev/full: every line of the log fails to be written",
    expected="every comparison whole all the same",
)
async def log_is_full(stage: Stage) -> str:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        return await served_without_a_log(stage, full)
    finally:
        os.close(full)


@staged(
    "R-07",
    "nobody reads the log",
    did="standard error is a pipe of 4 KiB that nobody reads",
    expected="every comparison whole all the same: lines are dropped, nothing waits for them",
)
async def log_is_stuck(stage: Stage) -> str:
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        return await served_without_a_log(stage, writer)
    finally:
        os.close(reader)
        os.close(writer)


@fault(
    "R-09",
    "a burst of connections",
    did="3000 connects at once, 1000 at a time, each closed as soon as it is there",
    expected="everything back at the base line, the canary unharmed",
    limit=60,
)
async def burst_of_connections(scene: Scene) -> str:
    numbers = count()

    async def one() -> None:
        stream = await connect(scene.service.address)
        next(numbers)
        stream.socket.close()

    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(one)
    await scene.healthy()
    return f"{next(numbers)} connections"


@asynccontextmanager
async def few_ports() -> AsyncIterator[None]:
    async with open_namespace():
        await in_namespace(
            "sysctl", "-q", "-w", f"net.ipv4.ip_local_port_range=50000 {50000 + PORTS - 1}"
        )
        yield


PORTS = 8


@staged(
    "R-08",
    "no ephemeral port left",
    did=f"the service in a network namespace with {PORTS} local ports (needs root), 18 models",
    expected="those without a port end in `connect_error`, the others are whole; later all are",
)
async def no_port_left(stage: Stage) -> str:
    async with few_ports(), open_upstream(host=OUTSIDE) as upstream:

        async def closing(talk: Talk) -> None:
            # The provider closes first, so that no port of the service's stays in TIME_WAIT.
            await talk.send(HEAD_CLOSE + text_event("well"))
            await trio.sleep(0.5)
            await talk.send(DONE)
            await talk.close()

        upstream.scripts["closing"] = closing
        config = Config()
        providers = {"fake": upstream.base_url}
        async with stage.service(
            config, providers, shell=IN_NAMESPACE, bind=f"{INSIDE}:0"
        ) as service:
            scene = Scene(stage, service, upstream, config)
            answers: list[Answers] = []

            async def compare() -> None:
                answers.append(await scene.compare(*["fake:closing"] * 9))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(compare)
                nursery.start_soon(compare)
            codes = [done["code"] for one in answers for done in one.dones.values()]
            assert set(codes) == {None, "connect_error"}, set(codes)
            # Two of the ports are listened at: the service's own, and its simulator's.
            again = await scene.compare(*["fake:closing"] * (PORTS - 2))
            later = [done["code"] for done in again.dones.values()]
            assert not any(later), f"afterwards {later}, before {codes}"
            await upstream.quiet(within=1)
    return (
        f"{codes.count(None)} whole, {codes.count('connect_error')} connect_error, then all whole"
    )
