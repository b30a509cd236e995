"""What stands behind the proxy: the service on a loopback port, and its provider on another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from service.application import create_app
from service.edge import Binding, Told, serve
from service.settings import Deadlines, Limits, ProviderSettings, Server, Settings, Stream
from tests.chaos.upstream import Talk, Upstream, open_upstream

__all__ = ["FAR_AWAY", "INSIDE", "Behind", "Model", "open_behind", "settings_behind"]

FAR_AWAY = 3600.0
"""Seconds; a clock that does not run out in any test."""
INSIDE = b"for those inside"
"""What /metrics answers."""


class Model:
    """A model that says what the test says, when the test says it."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.given_up = trio.Event()
        """The service has closed its request before the answer was whole."""
        self._mouth, self._words = trio.open_memory_channel[str](0)

    async def say(self, text: str) -> None:
        """Say a piece, once the model has been asked."""
        await self._mouth.send(text)

    def finish(self) -> None:
        """End the answer well."""
        self._mouth.close()

    async def script(self, talk: Talk) -> None:
        """What it does with its one request."""
        self.asked.set()
        try:
            await talk.begin()
            async for text in self._words:
                await talk.say(text)
            await talk.finish()
        finally:
            if not talk.whole:
                self.given_up.set()


@dataclass(slots=True)
class Behind:
    """A service that runs, and what it can be told."""

    model: Model
    settings: Settings
    upstream: Upstream
    nursery: trio.Nursery
    told: Told = field(default_factory=Told)
    address: str = ""
    """`host:port`."""
    ended: trio.Event = field(default_factory=trio.Event)
    breaks: bool = False
    """Whether the next piece of a response is a fault of the service's own."""

    def another(self, name: str) -> Model:
        """A model of this name, beside `m`."""
        model = Model()
        self.upstream.scripts[name] = model.script
        return model

    async def start(self, address: str = "127.0.0.1:0") -> None:
        """Serve at this address, in place of a server that has ended."""
        self.told, self.ended = Told(), trio.Event()
        url = await self.nursery.start(self._serve, Binding(address=address))
        self.address = url.removeprefix("http://")

    async def _serve(  # noqa: ASYNC128  # the edge, to whom it is given, calls started
        self, binding: Binding, *, task_status: trio.TaskStatus[str]
    ) -> None:
        try:
            app = create_app(self.settings)
            app.asgi_app = self._around(app.asgi_app)  # type: ignore[method-assign]
            await serve(app, binding, told=self.told, task_status=task_status)
        finally:
            self.ended.set()

    def _around(self, quart: Any) -> Any:
        """The application, with something at /metrics that is not for strangers, and breakable."""

        async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
            async def breakable(message: Any) -> None:
                if self.breaks:
                    raise RuntimeError("in the middle of a response")
                await send(message)

            if scope.get("path", "").rstrip("/") in ("/metrics", "/api/metrics"):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": INSIDE})
            else:
                await quart(scope, receive, breakable)

        return asgi_app


def settings_behind(
    base_url: str, *, heartbeat: float, drain: float = 30, max_body_bytes: int = 1024 * 1024
) -> Settings:
    """Settings of a service behind a proxy on the same machine, which no clock of its own ends."""
    provider = ProviderSettings(dialect="openai", base_url=base_url)
    return Settings(
        default_provider="fake",
        providers={"fake": provider},
        limits=Limits(max_body_bytes=max_body_bytes),
        deadlines=Deadlines(first_token=FAR_AWAY, idle=FAR_AWAY, total=FAR_AWAY),
        stream=Stream(heartbeat=heartbeat),
        server=Server(trusted_proxies=("127.0.0.1",), connections_per_address=0, drain=drain),
    )


@asynccontextmanager
async def open_behind(*, heartbeat: float = FAR_AWAY, **limits: Any) -> AsyncIterator[Behind]:
    """A service with one model, `m`; whatever still runs in the end is cut."""
    async with open_upstream() as upstream, trio.open_nursery() as nursery:
        settings = settings_behind(upstream.base_url, heartbeat=heartbeat, **limits)
        behind = Behind(Model(), settings, upstream, nursery)
        upstream.scripts["m"] = behind.model.script
        await behind.start()
        try:
            yield behind
        finally:
            behind.told.stop.set()
            behind.told.hurry.set()
