"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trustme

from tests.proxies.behind import Behind, open_behind
from tests.proxies.clients import PROTOCOLS, Protocol
from tests.proxies.examples import EXAMPLES, Change, Example
from tests.proxies.running import Proxy, open_proxy
from tests.tools import require_tool

BOUND = 15
"""Seconds; what has not come by then is not coming. Nothing is asserted by how fast it was."""


@dataclass(frozen=True, slots=True)
class Front:
    """One of the examples, the program that runs it, and who signs its certificate."""

    example: Example
    path: str
    authority: trustme.CA

    @property
    def program(self) -> str:
        """Which of them it is."""
        return self.example.program

    @asynccontextmanager
    async def open(
        self, *changes: Change, impatient: bool = False, **options: Any
    ) -> AsyncIterator[tuple[Proxy, Behind]]:
        """The proxy, and the service behind it."""
        example = self.example.with_changes(*changes)
        if impatient:
            example = example.impatient()
        async with (
            open_behind(**options) as behind,
            open_proxy(example, self.path, self.authority, behind.address) as proxy,
        ):
            yield proxy, behind

    @asynccontextmanager
    async def open_before(self, service: str) -> AsyncIterator[Proxy]:
        """The proxy in front of a service at this `host:port`."""
        async with open_proxy(self.example, self.path, self.authority, service) as proxy:
            yield proxy


@pytest.fixture(params=EXAMPLES)
def front(request: pytest.FixtureRequest, authority: trustme.CA) -> Front:
    """Each of them in turn; skipped where it is not installed."""
    return Front(EXAMPLES[request.param], require_tool(request.param), authority)


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    """What the client speaks."""
    spoken: Protocol = request.param
    return spoken


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the proxies' certificates."""
    return trustme.CA()
