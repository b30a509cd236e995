"""The service with a fault built into its process: `python -m tests.chaos.meddled FAULT serve ...`.

For what can't be done from outside: an exception at a chosen stage of a comparison, a resolver that
hangs, an event loop that is blocked. Everything else is the command as it is.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import service.answer
import service.application
import service.edge.connection
import service.edge.serving
import service.log
import service.outlet
import service.providers.openai
import service.routes
import service.upstream.client
from service.cli import main

INJECTED = RuntimeError("injected by the harness")
BAD = "fake:bad"
BLOCKED_SECONDS = 2.0
SHORT_SECONDS = 1.0
LOOK_UP_SECONDS = 4.0


def raising_if(guilty: Callable[..., bool], original: Callable[..., Any]) -> Callable[..., Any]:
    """`original`, but it raises for whom it should."""

    def meddled(*arguments: Any, **named: Any) -> Any:
        if guilty(*arguments, **named):
            raise INJECTED
        return original(*arguments, **named)

    return meddled


def fail_in_validate() -> None:
    guilty = lambda body, **_: BAD.encode() in body  # noqa: E731
    routes = vars(service.routes)
    routes["parse_question"] = raising_if(guilty, routes["parse_question"])


def fail_in_connect() -> None:
    client = service.upstream.client.Client
    guilty = lambda *_, body, **__: b'"bad"' in body  # noqa: E731
    client.post = raising_if(guilty, client.post)  # type: ignore[method-assign]


def fail_in_parse() -> None:
    reading = service.providers.openai.ChatReading
    guilty = lambda _, data: b"poison" in data  # noqa: E731
    reading.feed = raising_if(guilty, reading.feed)  # type: ignore[method-assign]


def fail_in_fan_in() -> None:
    outlet = service.outlet.Outlet
    guilty = lambda self, *_, **__: self._account.name == BAD  # noqa: E731
    outlet.text = raising_if(guilty, outlet.text)  # type: ignore[method-assign]


def fail_in_encode() -> None:
    guilty = lambda _, texts: "poison" in texts  # noqa: E731
    answer = vars(service.answer)
    answer["encode_alike"] = raising_if(guilty, answer["encode_alike"])


def fail_in_log() -> None:
    redactor = service.log._Redactor
    guilty = lambda _, __, ___, line: (  # noqa: E731
        line.get("event") == "model ended" and line.get("model") == BAD
    )
    redactor.__call__ = raising_if(guilty, redactor.__call__)  # type: ignore[method-assign]


def block_the_loop_on_a_signal() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(BLOCKED_SECONDS))


def switch_the_collector_off() -> None:
    gc.disable()


def let_names_hang() -> None:
    original = socket.getaddrinfo

    def getaddrinfo(
        host: Any, port: Any, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        # Whether it is a number is asked first, in the event loop; that takes no name server.
        if host in (b"slow.invalid", "slow.invalid") and not flags & socket.AI_NUMERICHOST:
            time.sleep(LOOK_UP_SECONDS)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return original(host, port, family, kind, proto, flags)

    vars(socket)["getaddrinfo"] = getaddrinfo


def shorten_the_clocks() -> None:
    """The clocks of the edge that are no settings."""
    serving, connection = vars(service.edge.serving), vars(service.edge.connection)
    for module, name in (
        (serving, "KEEP_ALIVE_SECONDS"),
        (serving, "HANDSHAKE_SECONDS"),
        (connection, "HEAD_SECONDS"),
        (vars(service.application), "BODY_SECONDS"),
    ):
        assert name in module, name
        module[name] = SHORT_SECONDS


MEDDLINGS = {
    "validate": fail_in_validate,
    "connect": fail_in_connect,
    "parse": fail_in_parse,
    "fan-in": fail_in_fan_in,
    "encode": fail_in_encode,
    "log": fail_in_log,
    "blocked": block_the_loop_on_a_signal,
    "no-collector": switch_the_collector_off,
    "hanging-names": let_names_hang,
    "short-clocks": shorten_the_clocks,
}

if __name__ == "__main__":
    MEDDLINGS[sys.argv.pop(1)]()
    main()
