"""Signals, faults of our own, and a machine that stands still."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from service.testing import Script
from tests.asking import comparison
from tests.chaos.clients import H1, connect, open_h1, question
from tests.chaos.fault import fault, staged
from tests.chaos.invariants import of_the_log
from tests.chaos.rows.asking import until_draining
from tests.chaos.scene import Scene, Stage, answers_in
from tests.chaos.service_under_test import Config, open_service
from tests.chaos.upstream import counting, open_upstream, saying
from tests.chaos.waiting import until
from tests.command import running
from tests.every_step import at_step

REFUSED_STREAM = 7
WIDEST_WINDOW = 2**31 - 1
SLACK_SECONDS = 0.5
"""What a loaded machine may take longer to end a process; the table has the figure itself."""


@asynccontextmanager
async def alone(stage: Stage, config: Config, **options: Any) -> AsyncIterator[Scene]:
    """A service without a canary: its end is what is looked at."""
    async with open_upstream() as upstream:
        providers = {"fake": upstream.base_url}
        async with stage.service(config, providers, **options) as service:
            yield Scene(
                stage, service, upstream, config, tls="--certfile" in options.get("options", ())
            )


async def ends(scene: Scene, *, within: float, code: int = 0) -> float:
    """The process ends in time with this code, every comparison is in its log; the seconds."""
    ended, took = await scene.service.ended(within=within)
    assert ended == code, f"it ended with {ended}: {scene.service.stray[-3:]}"
    await scene.upstream.quiet(within=1)
    await until(lambda: _told(scene), within=1, what="every comparison is in the log")
    found = of_the_log(scene.service, scene.accepted, scene.expected_events)
    assert not found, "; ".join(found)
    return took


def _told(scene: Scene) -> bool:
    ended = {line["comparison"] for line in scene.service.lines("comparison ended")}
    return scene.accepted.keys() <= ended


async def flow(client: H1, *models: str) -> None:
    """Ask, and see that each model writes."""
    await client.ask(*models)
    await client.until(lambda: client.body.count(b'"chunk"') >= 3 * len(models))


# --- told to stop -------------------------------------------------------------------------------


@staged(
    "P-01",
    "SIGTERM, idle",
    did="SIGTERM to a service that has answered one comparison",
    expected="exit 0 within 0.5 s",
    short=True,
)
async def stops_idle(stage: Stage) -> str:
    async with alone(stage, Config()) as scene:
        await scene.healthy()
        scene.service.process.send_signal(signal.SIGTERM)
        took = await ends(scene, within=2)
        assert took < 0.5 + SLACK_SECONDS, f"it took {took:.2f} s"
        return f"exit 0 after {took:.2f} s"


@fault(
    "P-02",
    "SIGTERM, streams that end inside the drain",
    did="2 comparisons of 2 models with half a second left, SIGTERM, then new connections",
    expected="both are whole, and the canary; `/readyz` 503, POST 503 `draining` with "
    "`Retry-After`; exit 0",
    short=True,
    ends=True,
    config=Config(drain=6),
)
async def drains(scene: Scene) -> str:
    models = ["fake:steady", "fake:steady"]
    status, _, body = await scene.get("/readyz")
    assert status == 200, f"/readyz before: {status}"
    async with scene.h1() as first, scene.raw_h2() as second:
        await flow(first, *models)
        await second.begin()
        await second.send(*second.post(1, *models))
        await second.until(lambda: b'"chunk"' in second.data.get(1, b""))
        scene.service.process.send_signal(signal.SIGTERM)
        await until_draining(scene)
        status, headers, body = await scene.post("fake:ok")
        assert status == 503, f"a POST was answered with {status}"
        assert json.loads(body)["code"] == "draining", body
        assert int(headers["retry-after"]) > 0
        answers_in(await first.whole(), models)
        await second.until(lambda: second.ended(1))
        for text in answers_in(bytes(second.data[1]), models).texts.values():
            assert text.split()[-1] == "25"
    assert scene.service.alive, "it ended before the canary's comparisons had"
    return "2 of 2 whole, new ones refused with 503"


def shut_down(body: bytes, models: Sequence[str]) -> None:
    """Every model has its words and its `done` with `server_shutdown`, and `complete` is there."""
    answers = answers_in(body, list(models))
    codes = [done["code"] for done in answers.dones.values()]
    assert codes == ["server_shutdown"] * len(models), codes
    assert len(answers.words) == len(models)


@fault(
    "P-03",
    "SIGTERM, endless streams",
    did="3 endless models over HTTP/1.1 and 3 over HTTP/2, SIGTERM, drain 1.5 s",
    expected="at the deadline every model has `done` with `server_shutdown`, then `complete`; "
    "exit 0 within drain + 1 s",
    short=True,
    ends=True,
    may_end_in=("server_shutdown",),
    config=Config(drain=1.5, first_token=10),
)
async def shuts_endless_streams_down(scene: Scene) -> str:
    models = ["fake:endless", "fake:silent", "fake:endless"]
    async with scene.h1() as first, scene.raw_h2() as second:
        await first.ask(*models)
        await second.begin()
        await second.send(*second.post(1, *models))
        await second.until(lambda: b'"chunk"' in second.data.get(1, b""))
        await first.seen(b'"chunk"')
        began = trio.current_time()
        scene.service.process.send_signal(signal.SIGTERM)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.whole)
            nursery.start_soon(second.until, lambda: second.ended(1))
        told = trio.current_time() - began
        shut_down(bytes(first.body), models)
        shut_down(bytes(second.data[1]), models)
    scene.accepted[second.headers[1]["x-comparison-id"]] = models
    await scene.service.ended(within=scene.config.drain + 1 + SLACK_SECONDS - told)
    took = trio.current_time() - began
    return f"told after {told:.2f} s, exit after {took:.2f} s"


async def stops_with_stalled_readers(stage: Stage, *, tls: bool) -> str:
    # A write_timeout longer than the drain: it is the drain that has to end them.
    config = Config(drain=1.5, write_timeout=30, idle=30)
    options = ["--certfile", str(stage.certificate)] if tls else []
    floods = ["fake:flood"] * 3
    async with (
        alone(stage, config, options=options) as scene,
        scene.h1(tls=tls, receive_buffer=4096) as first,
        scene.raw_h2(tls=tls, receive_buffer=4096) as second,
        scene.raw_h2(tls=tls) as third,
    ):
        await first.send_as_is(question(*floods), *floods)
        await second.begin(initial_window_size=WIDEST_WINDOW)
        await second.send(*second.post(1, *floods))
        await third.begin(initial_window_size=0)
        await third.send(*third.post(1, *floods))
        await scene.upstream.busy(9)
        before = -1
        while before != scene.upstream.sent:  # until every buffer on the way is full
            before = scene.upstream.sent
            await trio.sleep(0.1)
        scene.service.process.send_signal(signal.SIGTERM)
        took = await ends(scene, within=config.drain + 3)
        assert took < config.drain + 1 + SLACK_SECONDS, f"exit after {took:.2f} s"
        return f"exit 0 after {took:.2f} s"


@staged(
    "P-04a",
    "SIGTERM with stalled readers",
    did="one over HTTP/1.1, one over HTTP/2 whose socket is not read, one with a window of zero; "
    "3 floods each, SIGTERM, drain 1.5 s, write_timeout 30 s",
    expected="exit 0 within drain + 1 s",
    short=True,
)
async def stalled_readers(stage: Stage) -> str:
    return await stops_with_stalled_readers(stage, tls=False)


@staged(
    "P-04b",
    "SIGTERM with stalled readers over TLS",
    did="the same over TLS",
    expected="the same",
    short=True,
)
async def stalled_readers_tls(stage: Stage) -> str:
    return await stops_with_stalled_readers(stage, tls=True)


@staged(
    "P-05",
    "SIGTERM with 500 idle connections",
    did="500 connections kept alive after one answer each, SIGTERM",
    expected="exit 0 within 1 s",
    short=True,
)
async def idle_connections(stage: Stage) -> str:
    clients: list[trio.SocketStream] = []
    async with alone(stage, Config()) as scene:

        async def one() -> None:
            client = await connect(scene.service.address)
            clients.append(client)
            await client.send_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            received = b""
            while not received.endswith(b"}"):
                data = await client.receive_some()
                assert data, "it was closed"
                received += data

        try:
            for _ in range(10):
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(one)
            scene.service.process.send_signal(signal.SIGTERM)
            took = await ends(scene, within=5)
        finally:
            for client in clients:
                client.socket.close()
        assert took < 1 + SLACK_SECONDS, f"exit after {took:.2f} s"
        return f"exit 0 after {took:.2f} s"


async def second_signal(stage: Stage, second: signal.Signals) -> str:
    models = ["fake:endless"] * 3
    async with alone(stage, Config(drain=20)) as scene, scene.h1() as client:
        await flow(client, *models)
        scene.service.process.send_signal(signal.SIGTERM)
        await until_draining(scene)
        assert scene.service.alive
        scene.service.process.send_signal(second)
        took = await ends(scene, within=3)
        codes = [line["code"] for line in scene.service.lines("model ended")]
        assert len(codes) == 3, codes
        assert took < 1 + SLACK_SECONDS, f"exit after {took:.2f} s"
        return f"exit 0 after {took:.2f} s, each model in the log with {codes[0]}"


@staged(
    "P-06a",
    "second SIGTERM in the drain",
    did="3 endless models, SIGTERM twice, drain 20 s",
    expected="ended at once, with exit 0 and a record of each model",
    short=True,
)
async def sigterm_twice(stage: Stage) -> str:
    return await second_signal(stage, signal.SIGTERM)


@staged(
    "P-06b",
    "SIGINT in the drain",
    did="the same, SIGTERM and then SIGINT",
    expected="the same",
    short=True,
)
async def sigterm_and_sigint(stage: Stage) -> str:
    return await second_signal(stage, signal.SIGINT)


@staged(
    "P-07",
    "SIGTERM while it starts",
    did="SIGTERM 0, 0.1, ... 1.2 s after the start",
    expected="it ends: by the signal before Python listens to it, with 0 after; no traceback",
)
async def stops_while_it_starts(stage: Stage) -> str:
    path = stage.write_config(Config(), {"fake": "http://127.0.0.1:9/v1"})
    codes = []
    for step in range(13):
        arguments = ("serve", "--bind", "127.0.0.1:0", "--config", str(path))
        async with running(*arguments) as process:
            await trio.sleep(0.1 * step)
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(5):
                assert process.stderr is not None
                said = b"".join([bytes(part) async for part in process.stderr]).decode()
                codes.append(await process.wait())
            assert "Traceback" not in said, said[-300:]
    assert set(codes) <= {0, -signal.SIGTERM}, codes
    return f"exit codes {' '.join(map(str, codes))}"


@fault(
    "P-08",
    "a new request over a live HTTP/2 connection in the drain",
    did="a comparison runs on the connection, SIGTERM, another POST on it",
    expected="RST_STREAM with REFUSED_STREAM; no GOAWAY, at which some clients drop what runs, "
    "before the running one is whole",
    short=True,
    ends=True,
    config=Config(drain=6),
)
async def asks_in_the_drain(scene: Scene) -> str:
    async with scene.raw_h2() as client:
        await client.begin()
        await client.send(*client.post(1, "fake:steady", "fake:steady"))
        with trio.fail_after(8):
            await client.until(lambda: b'"chunk"' in client.data.get(1, b""))
            scene.service.process.send_signal(signal.SIGTERM)
            await until_draining(scene)
            await client.send(*client.post(3, "fake:ok"))
            await client.until(lambda: client.resets(3))
            assert not client.goaways()
            assert client.resets(3) == [REFUSED_STREAM]
            await client.until(lambda: client.ended(1))
        texts = answers_in(bytes(client.data[1]), ["fake:steady", "fake:steady"]).texts
        assert all(text.split()[-1] == "25" for text in texts.values())
    assert not scene.upstream.asked["ok"]
    return "REFUSED_STREAM, the running one whole"


# --- killed, stopped, blocked -------------------------------------------------------------------


@staged(
    "P-09",
    "SIGKILL",
    did="9 endless models, SIGKILL, then a new process at the same port",
    expected="the kernel closes every request to a provider; the new one answers",
)
async def is_killed(stage: Stage) -> str:
    async with open_upstream() as upstream:
        path = stage.write_config(Config(), {"fake": upstream.base_url})
        async with open_service(path) as first:
            scene = Scene(stage, first, upstream, Config())
            async with scene.h1() as client:
                await flow(client, *["fake:endless"] * 9)
                first.process.kill()
                await first.ended(within=2)
                took = await upstream.quiet(within=1)
            host, port = first.address
        async with open_service(path, bind=f"{host}:{port}") as second:
            await Scene(stage, second, upstream, Config()).healthy()
    return f"closed after {1000 * took:.0f} ms, the next one answers"


@fault(
    "P-10",
    "SIGSTOP for 3 s, then SIGCONT",
    did="stopped for 3 s (not 20), with idle deadlines of 1.5 s, and three models that write on",
    expected="no crash; each model goes on or ends in a time-out, told once; new ones are served",
    config=Config(idle=1.5, first_token=10),
    gap=5,
    may_end_in=("idle_timeout",),
)
async def is_stopped_for_a_while(scene: Scene) -> str:
    scene.upstream.scripts["on"] = counting(250, gap=0.02)
    models = ["fake:on"] * 3
    async with scene.h1() as client:
        await flow(client, *models)
        scene.service.process.send_signal(signal.SIGSTOP)
        await trio.sleep(3)
        scene.service.process.send_signal(signal.SIGCONT)
        answers = answers_in(await client.whole(), models)
    codes = {done["code"] for done in answers.dones.values()}
    assert codes <= {None, "idle_timeout"}, codes
    await scene.healthy()
    return "the models " + " and ".join(code or "went on" for code in sorted(codes, key=str))


@fault(
    "P-11",
    "the event loop is blocked for 2 s",
    did="`time.sleep(2)` in the process, while three models write",
    expected="every text whole, new ones served (nothing measures the lag, so nothing is logged)",
    meddling="blocked",
    config=Config(idle=5, first_token=5, write_timeout=5),
    gap=3,
)
async def is_blocked(scene: Scene) -> str:
    scene.upstream.scripts["on"] = counting(150, gap=0.02)
    models = ["fake:on"] * 3
    async with scene.h1() as client:
        await flow(client, *models)
        scene.service.process.send_signal(signal.SIGUSR1)
        answers = answers_in(await client.whole(), models)
    assert all(answers.code(name) is None for name in answers.dones)
    assert all(text.split()[-1] == "150" for text in answers.texts.values())
    await scene.healthy()
    return "3 of 3 whole"


# --- faults of our own --------------------------------------------------------------------------


async def one_model_fails(scene: Scene) -> str:
    """The model ends in `internal_error`, its two neighbours are whole."""
    scene.expected_events.add("provider code failed")
    scene.upstream.scripts["bad"] = saying("poison")
    answers = await scene.compare("fake:bad", "fake:steady", "fake:steady")
    assert answers.code("fake:bad") == "internal_error", answers.code("fake:bad")
    assert answers.code("fake:steady") is None
    line = await scene.service.logged("provider code failed", within=1)
    assert "injected by the harness" in line["exception"]
    await scene.healthy()
    return "internal_error, 2 of 2 others whole, the traceback is in the log"


@fault(
    "P-12a",
    "exception in validate",
    did="an exception injected where the question is parsed",
    expected="500 `internal_error`, nothing started, the traceback in the log",
    meddling="validate",
)
async def fails_in_validate(scene: Scene) -> str:
    scene.expected_events.add("request failed")
    status, _, body = await scene.post("fake:bad", "fake:ok")
    assert status == 500, status
    assert json.loads(body)["code"] == "internal_error"
    assert not scene.upstream.asked
    await scene.service.logged("request failed", within=1)
    await scene.healthy()
    return "500"


@fault(
    "P-12b",
    "exception in connect",
    did="an exception injected where one of three models is asked",
    expected="that model `internal_error`, the other two whole",
    short=True,
    meddling="connect",
)
async def fails_in_connect(scene: Scene) -> str:
    return await one_model_fails(scene)


@fault(
    "P-12c",
    "exception in parse",
    did="an exception injected where one of three models' bytes are read",
    expected="the same",
    meddling="parse",
)
async def fails_in_parse(scene: Scene) -> str:
    return await one_model_fails(scene)


@fault(
    "P-12d",
    "exception in fan-in",
    did="an exception injected where one of three models' text is handed on",
    expected="the same",
    meddling="fan-in",
)
async def fails_in_fan_in(scene: Scene) -> str:
    return await one_model_fails(scene)


async def the_comparison_is_cut(scene: Scene) -> None:
    """It has no end that could be taken for one, and its neighbours have theirs."""
    scene.expected_events.add("answer failed")
    scene.upstream.scripts["bad"] = saying("poison")
    async with scene.h1() as client:
        await client.ask("fake:bad", "fake:steady", "fake:steady")
        while not client.closed and not client.ended:
            await client.receive()
        assert not client.ended, "the body came to a sound end"
        assert b'"complete"' not in client.body
    await scene.upstream.quiet(within=1)
    await scene.healthy()


@fault(
    "P-12e",
    "exception in encode",
    did="an exception injected where one model's event is made into bytes",
    expected="no event can tell it: the comparison is cut without `complete`, its models are "
    "stopped, the traceback is in the log",
    short=True,
    meddling="encode",
)
async def fails_in_encode(scene: Scene) -> str:
    await the_comparison_is_cut(scene)
    await scene.service.logged("answer failed", within=1)
    return "cut, others unharmed"


@fault(
    "P-12f",
    "exception in the log",
    did="an exception injected where one model's end is logged",
    expected="other comparisons are unharmed; this one is whole, or cut without `complete`",
    meddling="log",
)
async def fails_in_log(scene: Scene) -> str:
    scene.expected_events.add("answer failed")
    scene.upstream.scripts["bad"] = saying("poison")
    async with scene.h1() as client:
        await client.ask("fake:bad", "fake:steady", "fake:steady")
        while not client.closed and not client.ended:
            await client.receive()
        # What could not be written can't be counted: this comparison is not held against the log.
        scene.accepted.clear()
        scene.service.log[:] = [
            line
            for line in scene.service.log
            if line.get("comparison") != client.headers["x-comparison-id"]
        ]
        whole = client.ended
    await scene.upstream.quiet(within=1)
    await scene.healthy()
    return "the comparison is " + ("whole" if whole else "cut")


@staged(
    "P-13",
    "cancellation at every checkpoint",
    did="in process: a comparison of three models, cancelled before its step k, for every k "
    "(tests/test_leaving.py does it for the whole service and over real sockets)",
    expected="for every k each model's call is closed, nobody is told of twice, no task is left",
    short=True,
)
async def is_cancelled_everywhere(stage: Stage) -> str:
    # A thread, for its clock is a virtual one and this run's is not.
    steps = await trio.to_thread.run_sync(_cancel_at_every_step)
    return f"{steps} steps"


def _cancel_at_every_step() -> int:
    steps = 0

    async def at(step: int) -> bool:
        scripts = [Script(name, (1, "x"), (1, "y")) for name in "abc"]
        with trio.CancelScope() as scope, at_step(step, scope.cancel) as moment:
            async with comparison(*scripts).open() as inbox:
                async for _ in inbox:
                    pass
        assert all(script.opened == script.closed for script in scripts), step
        return moment.came

    for step in count(1):
        with capture_logs() as lines:
            if not trio.run(at, step, clock=MockClock(autojump_threshold=0)):
                break
        ended = [line["model"] for line in lines if line["event"] == "model ended"]
        assert len(ended) == len(set(ended)), f"told twice at step {step}"
        steps = step
    assert steps > 30, steps
    return steps


# --- rolling over -------------------------------------------------------------------------------


@staged(
    "P-15",
    "rolling restart under load",
    did="two processes at one port (SO_REUSEPORT), 8 clients that ask without a pause on new "
    "connections; after 1 s one process is told to stop and a third takes its place",
    expected="every comparison is whole or refused with 503 `draining`; the stopped one exits 0",
    limit=40,
)
async def rolls_over(stage: Stage) -> str:
    whole = refused = 0
    config = Config(drain=5)
    async with open_upstream() as upstream:
        upstream.scripts["brief"] = counting(10, gap=0.02)
        path = stage.write_config(config, {"fake": upstream.base_url})
        reuse = ["--reuse-port"]
        async with open_service(path, options=reuse) as first:
            bind = "{}:{}".format(*first.address)
            async with open_service(path, options=reuse, bind=bind) as second:
                over = trio.Event()

                async def load() -> None:
                    nonlocal whole, refused
                    while not over.is_set():
                        async with open_h1(second.address, {}) as client:
                            await client.ask("fake:brief", "fake:brief")
                            body = await client.whole()
                            if client.status == 503 and b'"draining"' in body:
                                refused += 1
                                continue
                            assert client.status == 200, client.status
                            answers_in(body, ["fake:brief", "fake:brief"])
                            whole += 1

                async with trio.open_nursery() as nursery:
                    for _ in range(8):
                        nursery.start_soon(load)
                    await trio.sleep(1)
                    async with open_service(path, options=reuse, bind=bind) as third:
                        first.process.send_signal(signal.SIGTERM)
                        code, took = await first.ended(within=config.drain + 1)
                        assert code == 0, code
                        await trio.sleep(1)
                        over.set()
                        await until(
                            lambda: len(nursery.child_tasks) == 0,
                            within=5,
                            what="every client has its last answer",
                        )
                        assert third.lines("comparison ended"), "the third got no client"
    return f"{whole} whole, {refused} refused as draining, exit 0 after {took:.1f} s"
