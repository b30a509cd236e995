"""One fault from its beginning to its result."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE
from typing import Literal, TypeAlias

import trio
import trustme

from tests.chaos.canary import Canary
from tests.chaos.fault import Fault, NotRunHere
from tests.chaos.invariants import BaseLine, violations
from tests.chaos.scene import Scene, Stage
from tests.chaos.service_under_test import Service, first_line, raise_descriptor_limit
from tests.chaos.upstream import Upstream, open_upstream
from tests.command import running

__all__ = ["Result", "Serving", "Verdict", "open_stage", "run_apart", "run_fault", "run_sharing"]

START_SECONDS = 20
LISTEN_SECONDS = 0.3
"""What the canary listens for at least: what a quick fault has done may show a moment later."""

Verdict: TypeAlias = Literal["held", "failed", "known fault", "not run here"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a fault."""

    id: str
    verdict: Verdict
    said: str
    """What was seen, or everything that is wrong."""
    seconds: float = 0.0
    """From the fault's beginning until it was over; starting the service is not in it."""
    gap: float | None = None
    """The canary's longest silence, in seconds; None: there was none to listen to."""
    tokens: int = 0
    """What the canary heard meanwhile."""
    grown: int | None = None
    """Bytes by which the service's memory grew at its peak."""


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """What all faults share: the canary, a folder, a certificate."""
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        authority = trustme.CA()
        certificate = folder / "certificate.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        async with running(
            module="tests.chaos.canary", stdin=PIPE, stderr=sys.stderr.fileno()
        ) as process:
            control, provider = (await first_line(process)).split()
            yield Stage(Canary(int(control), int(provider)), folder, authority, certificate)


@dataclass(frozen=True, slots=True)
class Serving:
    """A service under test and its providers, for one fault or for several in turn."""

    upstream: Upstream
    others: dict[str, str | Upstream]
    service: Service

    def forget(self) -> None:
        """Begin anew for the next fault: what the log and the provider know of the last one."""
        self.service.log.clear()
        self.service.stray.clear()
        self.service.forget_the_peak()
        self.upstream.forget()


Needs: TypeAlias = tuple[object, ...]


def needs_of(fault: Fault) -> Needs | None:
    """What the process has to be started with; None: it can't be another fault's as well."""
    if fault.staged or fault.ends or fault.others or fault.meddling or fault.shell:
        return None
    return (fault.config, fault.tls, fault.options)


async def run_apart(
    faults: Iterable[Fault], stage: Stage, on_result: Callable[[Result], None]
) -> None:
    """Run each fault against a process of its own."""
    for fault in faults:
        on_result(await run_fault(fault, stage))


async def run_sharing(
    faults: Iterable[Fault], stage: Stage, on_result: Callable[[Result], None]
) -> None:
    """Run faults with the same needs one after the other against one process.

    Starting it takes longer than most faults. After a fault that did harm a new one is started.
    """
    groups: dict[Needs | str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(needs_of(fault) or fault.id, []).append(fault)
    for group in groups.values():
        if needs_of(group[0]) is None:
            await run_apart(group, stage, on_result)
            continue
        group.reverse()
        while group:
            async with _open_serving(group[-1], stage) as serving:
                harmed = False
                while group and not harmed:
                    result = await run_fault(group.pop(), stage, serving)
                    harmed = result.verdict in ("failed", "known fault")
                    serving.forget()
                    on_result(result)


async def run_fault(fault: Fault, stage: Stage, serving: Serving | None = None) -> Result:
    """Let it happen, and say what came of it; never raises for what the service does."""
    result = await _run_fault(fault, stage, serving)
    if fault.known is None:
        return result
    if result.verdict == "failed":
        return replace(result, verdict="known fault", said=f"{fault.known} ({result.said})")
    if result.verdict == "held":
        return replace(result, verdict="failed", said="it holds, and is marked as a known fault")
    return result


async def _run_fault(fault: Fault, stage: Stage, serving: Serving | None) -> Result:
    try:
        with trio.fail_after(fault.limit + START_SECONDS):
            if fault.staged is not None:
                return await _run_staged(fault, stage)
            if serving is not None:
                return await _run_against(fault, stage, serving)
            async with _open_serving(fault, stage) as own:
                return await _run_against(fault, stage, own)
    except Exception as exc:
        for error in _leaves(exc):
            if isinstance(error, NotRunHere):
                return Result(id=fault.id, verdict="not run here", said=str(error))
        return Result(id=fault.id, verdict="failed", said="; ".join(map(_in_words, _leaves(exc))))


async def _run_staged(fault: Fault, stage: Stage) -> Result:
    assert fault.staged is not None
    began = trio.current_time()
    said = await fault.staged(stage)
    return Result(id=fault.id, verdict="held", said=said, seconds=trio.current_time() - began)


@asynccontextmanager
async def _no_others(_: Stage) -> AsyncIterator[dict[str, str | Upstream]]:
    yield {}


@asynccontextmanager
async def _open_serving(fault: Fault, stage: Stage) -> AsyncIterator[Serving]:
    """What this fault needs, started."""
    options = [*fault.options]
    if fault.tls:
        options += ["--certfile", str(stage.certificate)]
    others = fault.others or _no_others
    async with open_upstream() as upstream, others(stage) as opened:
        providers = {"fake": upstream.base_url}
        for name, other in opened.items():
            providers[name] = other if isinstance(other, str) else other.base_url
        async with stage.service(
            fault.config, providers, options=options, shell=fault.shell, meddling=fault.meddling
        ) as service:
            yield Serving(upstream, opened, service)


async def _run_against(fault: Fault, stage: Stage, serving: Serving) -> Result:
    service = serving.service
    scene = Scene(
        stage, service, serving.upstream, fault.config, tls=fault.tls, others=serving.others
    )
    base = BaseLine.of(scene)
    async with stage.canary.watching(
        service.address,
        authority=stage.authority_pem if fault.tls else None,
        lap=fault.lap,
        may_end_in=fault.may_end_in,
    ) as watching:
        began = trio.current_time()
        said, wrong = await _attack(fault, scene)
        seconds = trio.current_time() - began
        await trio.sleep_until(began + LISTEN_SECONDS)
    report = watching.report
    wrong += await _fate(fault, scene)
    grown = service.resident_peak() - base.resident if service.alive else None
    wrong += await violations(scene, base, report, gap=fault.gap, budget=fault.budget)
    return Result(
        id=fault.id,
        verdict="failed" if wrong else "held",
        said="; ".join(wrong) or said,
        seconds=seconds,
        gap=report.gap,
        tokens=report.tokens,
        grown=grown,
    )


async def _attack(fault: Fault, scene: Scene) -> tuple[str, list[str]]:
    """What the fault has seen, and what it says is wrong."""
    assert fault.attack is not None
    try:
        with trio.fail_after(fault.limit):
            return await fault.attack(scene), []
    except Exception as exc:
        errors = _leaves(exc)
        for error in errors:
            if isinstance(error, NotRunHere):
                raise error from None
        return "", [_in_words(error) for error in errors]


async def _fate(fault: Fault, scene: Scene) -> list[str]:
    """I1: whether the process is where it should be."""
    if not fault.ends:
        return [] if scene.service.alive else [f"I1 it ended with {scene.service.process.poll()}"]
    with trio.move_on_after(5):
        code = await scene.service.process.wait()
        return [] if code == 0 else [f"I1 it ended with {code}"]
    return ["I1 it did not end"]


def _leaves(exc: BaseException) -> list[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in _leaves(inner)]
    return [exc]


def _in_words(exc: BaseException) -> str:
    words = str(exc).strip().partition("\nassert ")[0]
    if isinstance(exc, trio.TooSlowError):
        words = "it took too long"
    return words if isinstance(exc, AssertionError) and words else f"{type(exc).__name__}: {words}"
