"""What the references have in common: the question, the events, and how they are served."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import uvicorn

from tests.bench.processes import raise_descriptor_limit

__all__ = [
    "BACKLOG",
    "RESPONSE_START",
    "Receive",
    "Scope",
    "Send",
    "asked_model",
    "body_of",
    "complete",
    "event",
    "provider_address",
    "question_to",
    "serve",
]

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
"""As the service keeps idle connections."""
RESPONSE_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


def provider_address() -> tuple[str, int]:
    """Where the provider listens."""
    return "127.0.0.1", int(os.environ["BENCH_PROVIDER_PORT"])


def asked_model(name: str) -> str:
    """What the provider calls the model that a client asked for."""
    return name.partition(":")[2]


def question_to(model: str, text: str) -> dict[str, Any]:
    """The body of a request to the provider."""
    messages = [{"role": "user", "content": text}]
    return {"model": asked_model(model), "messages": messages, "stream": True, "max_tokens": 4000}


def event(**fields: object) -> bytes:
    """One event for the client."""
    return b"data: %s\n\n" % json.dumps(fields, separators=(",", ":")).encode()


def complete(models: list[str], text: str) -> bytes:
    """The last event, when every model has answered."""
    counts = {"models_requested": len(models), "models_successful": len(models)}
    return event(
        type="complete", metadata={"input_length": len(text), **counts, "models_failed": 0}
    )


async def body_of(receive: Receive) -> Any:
    """The JSON of a request."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return json.loads(body)


def serve(app: Any, loop: Literal["asyncio", "uvloop"]) -> None:
    """Serve an ASGI application with uvicorn until terminated; prints the port."""
    raise_descriptor_limit()
    config = uvicorn.Config(
        app,
        loop=loop,
        http="httptools",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        log_level="warning",
        access_log=False,
    )
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(config).run(sockets=[listener])
