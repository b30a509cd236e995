"""The servers that are measured, and how each is started."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from tests.bench.processes import Process, started

__all__ = ["Server", "serving"]


class Server(StrEnum):
    """Who serves; the value is what tables call it."""

    SERVICE = "service"
    DRAFT = "first draft"
    ASYNCIO = "asyncio"
    POOL = "thread pool"
    SEQUENTIAL = "one by one"


MODULES = {
    Server.ASYNCIO: "tests.bench.references.asyncio_tasks",
    Server.POOL: "tests.bench.references.thread_pool",
    Server.SEQUENTIAL: "tests.bench.references.sequential",
}

SETTINGS = """
[limits]
max_comparisons = 2000

[deadlines]
connect = 60
first_token = 60

[stream]
write_timeout = 60
{stream}

{catalogue}

[server]
connections_per_address = 0

[providers.p]
dialect = "openai"
base_url = "http://127.0.0.1:{port}/v1"
max_concurrency = 20000
{provider}
"""


@contextmanager
def serving(server: Server, provider_port: int, service_root: Path) -> Iterator[Process]:
    """A server in front of the provider, for as long as the context lasts.

    `service_root` is the checkout whose service is run.

    Raises:
        DidNotStart: with the reason that the server gave.
    """
    if server in MODULES:
        variables = {"BENCH_PROVIDER_PORT": str(provider_port)}
        with started(MODULES[server], variables=variables) as process:
            yield process
        return
    draft = server is Server.DRAFT
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        settings = SETTINGS.format(
            port=provider_port,
            # A checkout from before there was one does not know the table.
            catalogue="[catalogue]\nrefresh = 0" if _has_catalogue(service_root) else "",
            # What the first version did: each chunk written by itself, and asked for over httpx.
            stream="flush_ms = 0" if draft else "",
            provider='transport = "httpx"' if draft else "",
        )
        config.write(settings)
        config.flush()
        arguments = ("serve", "--bind", "127.0.0.1:0", "--config", config.name)
        with started(
            "service", *arguments, "--log-level", "warning", folder=service_root
        ) as process:
            yield process


def _has_catalogue(root: Path) -> bool:
    return (root / "service" / "providers" / "catalogue").is_dir()
