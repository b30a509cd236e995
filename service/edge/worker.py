"""One server from its first connection to its last: Hypercorn's worker, and how it ends.

Told to stop, the server closes what is idle and lets no comparison begin, but goes on to answer
whoever connects, with "not here", until the last comparison has ended or the drain's time is
over. Only then does Hypercorn hear of it. Where other processes listen at the same port the
socket is closed at once instead, so that they get every new client.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio import run as hypercorn_run
from hypercorn.typing import AppWrapper
from hypercorn.utils import repr_socket_addr

from service.admission import Admission
from service.edge.certificate import Certificate
from service.edge.gate import Bounds, Gate, when
from service.edge.kernel import bound_what_the_kernel_holds
from service.edge.sighup import HANGUP, hangups
from service.exposure import warning_for
from service.metrics import Metrics
from service.reloading import Reloading
from service.settings import Settings
from service.shared import Shared

__all__ = ["Told", "worker_serve"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LAST_SECONDS = 0.2
"""Between the last comparison's end and the closing of every socket: for what is in flight."""
HAND_OVER_SECONDS = 0.1
"""Between the closing of a shared port and the drain: whoever had just connected is served yet."""

COLLECTED_AFTER = (20_000, 20, 20)
"""Objects that were made and not dropped before the youngest are looked at, some MiB; and how often
before the older."""

_hypercorn_serves = hypercorn_run.worker_serve


@dataclass(slots=True)
class Told:
    """What a server has been told."""

    stop: trio.Event = field(default_factory=trio.Event)
    """To end, in good order."""
    hurry: trio.Event = field(default_factory=trio.Event)
    """To end at once."""
    reload: trio.Event = field(default_factory=trio.Event)
    """To read the settings again; whoever begins to do so puts another in its place."""
    hand_over: bool = False
    """Whether others listen at the same port, who take the new clients."""

    def again(self) -> None:
        """To end; who says so twice means at once."""
        (self.hurry if self.stop.is_set() else self.stop).set()


async def worker_serve(  # noqa: ASYNC128  # Hypercorn, to whom it is given, calls started
    app: AppWrapper,
    config: Config,
    *,
    sockets: Sockets | None = None,
    shutdown_trigger: Callable[..., Awaitable[None]] | None = None,
    told: Told | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until told to stop; reports its addresses once it listens.

    Hypercorn's own command calls it without `told`, and with the trigger that its first process
    pulls; each of its workers then minds signals of its own, too. Told to, it reads the settings
    again, and its certificate.

    Raises SystemExit, with one line, for what the configuration must not hold.
    """
    _check(config)
    shared = Shared.of(getattr(app, "app", None))
    gate = Gate(_bounds_of(shared), shared.meter if shared else None)
    vars(config)["_gate"] = gate
    certificates = (Certificate(config),) if config.ssl_enabled else ()
    sockets = sockets or _listen(config)
    bound_what_the_kernel_holds(sockets, gate.bounds)
    if shared is not None:
        _warn_of_strangers(sockets, shared)
    ending = _Ending(told or Told(), gate, shared.admission if shared else None)
    async with trio.open_nursery() as nursery:
        if told is None:
            nursery.start_soon(_heed_signals, ending.told, config.workers, name="signals")
        if shutdown_trigger is not None:
            nursery.start_soon(_relay, shutdown_trigger, ending.told, name="shutdown trigger")
        nursery.start_soon(ending.run, name="ending")
        metrics = Metrics.of(getattr(app, "app", None))
        if metrics is not None:
            shared_at = ",".join(_addresses_of(sockets)) if config.workers > 1 else None
            nursery.start_soon(metrics.keep, shared_at, name="metrics")
        if shared is not None:
            renewing = _Renewing(shared, gate, sockets)
            reloading = Reloading(
                shared,
                besides=certificates,
                is_stopping=ending.told.stop.is_set,
                on_renewed=renewing.renew,
            )
            nursery.start_soon(_reload_when_told, ending.told, reloading, name="reloading")

        async def stop_accepting() -> None:
            config.graceful_timeout = await ending.stop_accepting()

        _calm_the_collector()
        await _hypercorn_serves(
            app, config, sockets=sockets, shutdown_trigger=stop_accepting, task_status=task_status
        )
        nursery.cancel_scope.cancel("served")


class _Ending:
    """How a server ends, step by step."""

    def __init__(self, told: Told, gate: Gate, admission: Admission | None) -> None:
        self.told = told
        self._gate = gate
        self._admission = admission
        self._over = trio.Event()

    async def stop_accepting(self) -> float:
        """Return when Hypercorn shall stop; with the seconds that it has for what still runs."""
        await self.told.stop.wait()
        if not self.told.hand_over and self._admission is not None:
            await self._over.wait()
        if self._over.is_set():
            return 0 if self.told.hurry.is_set() else LAST_SECONDS
        return self._gate.bounds.drain + 1

    async def run(self) -> None:
        """Drain once told to, then close every socket."""
        await self.told.stop.wait()
        if self.told.hand_over:
            with trio.move_on_after(HAND_OVER_SECONDS):
                await self.told.hurry.wait()
        self._gate.draining.set()
        deadline = trio.current_time() + self._gate.bounds.drain
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_at_once, nursery.cancel_scope)
            await self._drain()
            with trio.move_on_at(deadline):
                await when(lambda: not self._gate.owes())
            self._over.set()
            await trio.sleep(LAST_SECONDS)
            nursery.cancel_scope.cancel("drained")
        self._over.set()
        self._gate.cut_all()

    async def _drain(self) -> None:
        seconds = self._gate.bounds.drain
        if self._admission is None:
            await trio.sleep(seconds)
        else:
            if self._admission.running:
                log.info("draining", comparisons=self._admission.running, seconds=seconds)
            await self._admission.drain(seconds)

    async def _end_at_once(self, drain: trio.CancelScope) -> None:
        await self.told.hurry.wait()
        if self._admission is not None:
            self._admission.stop()
        drain.cancel("told to stop twice")


class _Renewing:
    """What of the settings is the server's own, when others are put in force."""

    def __init__(self, shared: Shared, gate: Gate, sockets: Sockets) -> None:
        self._shared = shared
        self._gate = gate
        self._sockets = sockets

    def renew(self, _: Settings) -> None:
        """Bound the connections that are made from now on by what is in force."""
        self._gate.bounds = _bounds_of(self._shared)
        bound_what_the_kernel_holds(self._sockets, self._gate.bounds)
        _warn_of_strangers(self._sockets, self._shared)


async def _reload_when_told(told: Told, reloading: Reloading) -> None:
    """Read the settings again, and once more for whoever says so meanwhile."""
    if hangups.came_early():
        told.reload.set()
    while True:
        await told.reload.wait()
        told.reload = trio.Event()
        await reloading.reload()


async def _relay(trigger: Callable[..., Awaitable[None]], told: Told) -> None:
    await trigger()
    told.stop.set()


async def _heed_signals(told: Told, workers: int) -> None:
    """The signals of one of Hypercorn's workers; of SIGINT its first process makes the trigger.

    Of several workers that process sends SIGTERM to the rest when the first has ended, which is
    no reason to hurry: it takes one signal more.
    """
    heeded = (signal.SIGTERM,) if workers else (signal.SIGTERM, signal.SIGINT)
    said = 0
    with trio.open_signal_receiver(*heeded, *HANGUP) as signals:
        async for number in signals:
            if number in HANGUP and not hangups.is_the_end():
                told.reload.set()
                continue
            said += 1
            if not told.stop.is_set():
                # Told by itself, not by the trigger: its siblings stay.
                told.hand_over = workers > 1
            told.stop.set()
            if said > (2 if workers > 1 else 1):
                told.hurry.set()


def _calm_the_collector() -> None:
    """Let it look less often, and not at what is there for good.

    A chunk makes a dozen objects that are gone with it. By itself the collector looks after every
    700th, and at all modules' every now and then: an eighth of what a chunk costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)


def _bounds_of(shared: Shared | None) -> Bounds:
    if shared is None:
        return Bounds()
    server = shared.settings.server
    return Bounds(
        write_timeout=shared.settings.stream.write_timeout,
        connections_per_address=server.connections_per_address,
        resets_per_connection=server.resets_per_connection,
        drain=server.drain,
    )


def _check(config: Config) -> None:
    """Hypercorn takes any name, and a misspelt one has no effect."""
    if config.max_requests is not None:
        raise SystemExit(
            "compare-stream: max_requests would end the process without a drain; leave it out."
        )
    known = set(dir(Config)) | set(Config.__annotations__)
    for name in vars(config):
        if name not in known:
            raise SystemExit(
                f"compare-stream: {name} is no setting of Hypercorn's; is it misspelt?"
            )


def _warn_of_strangers(sockets: Sockets, shared: Shared) -> None:
    warning = warning_for(_addresses_of(sockets), shared.settings)
    if warning is not None:
        log.warning("no key is asked for", warning=warning)


def _addresses_of(sockets: Sockets) -> list[str]:
    return [
        repr_socket_addr(listening.family, listening.getsockname())
        for listening in (*sockets.secure_sockets, *sockets.insecure_sockets)
    ]


def _listen(config: Config) -> Sockets:
    sockets = config.create_sockets()
    for listening in (*sockets.secure_sockets, *sockets.insecure_sockets):
        listening.listen(config.backlog)
    return sockets
