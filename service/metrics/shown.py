"""What `/metrics` answers: the figures of this process and its siblings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
import trio
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.registry import Collector

from service.meter import Meter
from service.metrics.collecting import collected
from service.metrics.family import Family
from service.metrics.lag import measure_lag
from service.shared import Shared

if sys.platform != "win32":
    from service.metrics.siblings import Siblings, folder_of

__all__ = ["Metrics"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

EXTENSION = "compare-stream-metrics"
"""Where an application keeps it among its extensions."""


class Metrics:
    """The figures of an application, and of those that listen at the same address."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._siblings: Siblings | None = None
        self._rendering = trio.CapacityLimiter(1)

    @property
    def meter(self) -> Meter:
        """Where the application counts."""
        return self._shared.meter

    @staticmethod
    def of(app: Any) -> Metrics | None:
        """Those of this application; None if it is not one of ours."""
        return getattr(app, "extensions", {}).get(EXTENSION)

    def attach_to(self, app: Any) -> None:
        """Let the server that runs this application find it."""
        app.extensions[EXTENSION] = self

    async def keep(self, address: str | None) -> None:
        """Do what must be done in the background while serving, until cancelled.

        `address` is where other processes listen as well; None: this is the only one. Where they
        can't meet each tells its own figures, and the log says so. A fault of ours in it is logged
        and ends it, but not whoever serves.
        """
        try:
            with self._meeting(address) as siblings:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(measure_lag, self.meter.lag, name="scheduler lag")
                    if siblings is not None:
                        nursery.start_soon(siblings.heed, name="siblings")
        except* Exception:
            log.exception("metrics failed")

    @contextmanager
    def _meeting(self, address: str | None) -> Iterator[Siblings | None]:
        if address is None or sys.platform == "win32":  # where no port can be shared
            yield None
            return
        with ExitStack() as stack:
            try:
                siblings = stack.enter_context(Siblings(folder_of(address), self._collect))
            except OSError as exc:
                log.warning("metrics of this process only", reason=str(exc))
                yield None
                return
            self._siblings = siblings
            try:
                yield siblings
            finally:
                self._siblings = None

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The figures in a format that the client takes, and that format's media type.

        Raises `OSError` where processes have met, and can't hear of each other any more: the
        figures of one would go back, which Prometheus takes for a restart.

        In a thread: of a hundred models they are 9000 lines and more, and answers would wait.
        """
        families = await self._gather()
        return await trio.to_thread.run_sync(_rendered, families, accept, limiter=self._rendering)

    async def _gather(self) -> list[Family]:
        if self._siblings is None:
            return self._collect()
        return await self._siblings.figures()

    def _collect(self) -> list[Family]:
        return collected(self._shared)


class _Gathered(Collector):
    """Families as prometheus_client has them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.help, family.kind)
            for suffix, labels, value in family.points():
                metric.add_sample(f"{family.name}{suffix}", labels, value)
            yield metric


def _rendered(families: list[Family], accept: str) -> tuple[bytes, str]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gathered(families))
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # at a version that is none
        encode, media_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return encode(registry), media_type
