"""How Hypercorn calls the application: with a body that ends, and no late goodbye.

Two corrections. Once the last piece of a response was handed over, Hypercorn queues
`http.disconnect`; quart-trio cancels the request at that, and with it the very task that is about
to recycle the connection. And a piece of a request's body that nobody will read any more
must not park whoever delivers it: the queue is closed at both ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)

__all__ = ["Calls"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Calls(TaskGroup):
    """A connection's tasks, its calls of the application among them."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Call `app` in a task of its own; returns what hands it the client's messages."""
        ended = _Ended(app)
        deliver = await super().spawn_app(ended, config, scope, send)

        # Hypercorn hands out the methods of a channel's ends; nothing else would close them.
        outbox: trio.MemorySendChannel[ASGIReceiveEvent] = deliver.__self__  # type: ignore[attr-defined]

        async def deliver_while_it_listens(message: ASGIReceiveEvent) -> None:
            if message["type"] == "http.disconnect":
                # Never waits: the queue may be full, and whoever tells this may be the only
                # one who could make room. It also wakes who waits to deliver.
                outbox.close()
                return
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await deliver(message)

        return deliver_while_it_listens


class _Ended:
    """An application that hears nothing once its response is whole, or it has returned."""

    def __init__(self, app: AppWrapper) -> None:
        self._app = app

    async def __call__(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        begun = whole = False

        async def send_and_note(message: ASGISendEvent) -> None:
            nonlocal begun, whole
            begun = True
            # Before it is sent: the disconnect is queued by that very send.
            whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        async def receive_until_whole() -> ASGIReceiveEvent:
            try:
                return await receive()
            except trio.EndOfChannel:
                if whole:
                    await trio.sleep_forever()  # the request returns, and cancels this
                return {"type": "http.disconnect"}

        inbox: trio.MemoryReceiveChannel[ASGIReceiveEvent] = receive.__self__  # type: ignore[attr-defined]
        try:
            with inbox:
                await self._app(scope, receive_until_whole, send_and_note, sync_spawn, call_soon)
        except Exception:
            # A fault outside the framework, which has words for those inside, as a body has for
            # its own. Hypercorn answers with a bare 500, and its log is off.
            if not begun:
                log.exception("request failed")
            raise
