"""What a fault has at hand while it happens: the service, its provider, and clients to send."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import trustme

from tests.chaos.canary import Canary
from tests.chaos.clients import (
    H1,
    Address,
    RawH2,
    Transport,
    connect,
    connect_tls,
    open_h1,
    open_raw_h2,
)
from tests.chaos.service_under_test import Config, Service, open_service
from tests.chaos.upstream import Upstream
from tests.clients import asking
from tests.grammar import check_stream
from tests.h2client import H2Client, open_h2

__all__ = ["Answers", "Scene", "Stage"]


@dataclass(frozen=True, slots=True)
class Answers:
    """A comparison that was read to its end, its stream held against the grammar."""

    texts: dict[str, str]
    """Each model's text, its error's words not among it."""
    dones: dict[str, dict[str, Any]]
    words: dict[str, str]
    """What clients are shown of each failure."""
    metadata: dict[str, Any]
    body: bytes

    def code(self, model: str) -> str | None:
        """How that model ended: its error's code, None for well."""
        code: str | None = self.dones[model]["code"]
        return code


def answers_in(body: bytes, models: list[str]) -> Answers:
    """Read a whole stream."""
    texts = check_stream(body, models)
    events = [json.loads(b[6:]) for b in body.split(b"\n\n") if b.startswith(b"data: ")]
    return Answers(
        texts=texts,
        dones={e["model"]: e for e in events if e["type"] == "done"},
        words={e["model"]: e["content"] for e in events if e["type"] == "chunk" and "error" in e},
        metadata=events[-1]["metadata"],
        body=body,
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """What every fault of a run shares."""

    canary: Canary
    folder: Path
    authority: trustme.CA
    certificate: Path

    @property
    def authority_pem(self) -> str:
        """The authority that clients have to trust."""
        return self.authority.cert_pem.bytes().decode()

    def trusting(self, protocol: str) -> ssl.SSLContext:
        """What a client needs that offers this protocol."""
        context = ssl.create_default_context(cadata=self.authority_pem)
        context.set_alpn_protocols([protocol])
        return context

    def write_config(self, config: Config, providers: dict[str, str]) -> Path:
        """A settings file; the canary's provider is always in it."""
        path = self.folder / "compare.toml"
        path.write_text(config.toml({"canary": self.canary.base_url, **providers}))
        return path

    def service(
        self, config: Config, providers: dict[str, str], **options: Any
    ) -> AbstractAsyncContextManager[Service]:
        """A service with these settings; for faults that need more than the one they are given."""
        return open_service(self.write_config(config, providers), **options)


@dataclass(slots=True)
class Scene:
    """One fault under way."""

    stage: Stage
    service: Service
    upstream: Upstream
    config: Config
    tls: bool = False
    others: dict[str, str | Upstream] = field(default_factory=dict)
    """Providers besides the scripted one: their addresses, or themselves."""
    accepted: dict[str, list[str]] = field(default_factory=dict)
    """Comparisons whose heads the harness's clients have read: id and models."""
    expected_events: set[str] = field(default_factory=set)
    """Events of level error that this fault may leave in the log."""

    def connect(
        self, *, receive_buffer: int | None = None
    ) -> AbstractAsyncContextManager[trio.SocketStream]:
        """A bare connection, torn down in the end."""
        return _torn_down(self.service.address, receive_buffer)

    def h1(
        self, *, tls: bool = False, receive_buffer: int | None = None
    ) -> AbstractAsyncContextManager[H1]:
        """A client of HTTP/1.1."""
        return open_h1(
            self.service.address,
            self.accepted,
            tls=self.stage.trusting("http/1.1") if tls else None,
            receive_buffer=receive_buffer,
        )

    def raw_h2(
        self, *, tls: bool = False, receive_buffer: int | None = None
    ) -> AbstractAsyncContextManager[RawH2]:
        """A client of HTTP/2 that sends whatever it is told."""
        return open_raw_h2(
            self.service.address,
            tls=self.stage.trusting("h2") if tls else None,
            receive_buffer=receive_buffer,
        )

    @asynccontextmanager
    async def h2(self, *, tls: bool = False) -> AsyncIterator[H2Client]:
        """A client of HTTP/2 that keeps to the rules."""
        address = self.service.address
        stream: Transport
        if tls:
            stream = await connect_tls(address, self.stage.trusting("h2"))
        else:
            stream = await connect(address)
        try:
            async with open_h2(stream, self.service.url) as client:
                yield client
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def compare(self, *models: str, **fields: Any) -> Answers:
        """A whole comparison over HTTP/1.1."""
        async with self.h1(tls=self.tls) as client:
            await client.ask(*models, **fields)
            body = await client.whole()
            assert client.status == 200, f"status {client.status}: {body!r}"
            return answers_in(body, list(models))

    @property
    def idle(self) -> int:
        """Providers' connections that are kept for a next request."""
        others = [other for other in self.others.values() if not isinstance(other, str)]
        return self.upstream.idle + sum(other.idle for other in others)

    def other(self, name: str) -> Upstream:
        """One of the other providers that is scripted as well."""
        other = self.others[name]
        assert isinstance(other, Upstream)
        return other

    async def healthy(self) -> None:
        """A new comparison is answered whole."""
        answers = await self.compare("fake:ok", "fake:ok")
        assert set(answers.texts.values()) == {"all is well"}, answers.texts

    async def get(self, path: str, *, tls: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a GET on a connection of its own."""
        async with self.h1(tls=tls) as client:
            await client.request("GET", path)
            body = await client.whole()
            return client.status, client.headers, body

    async def post(self, *models: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a question on a connection of its own."""
        async with self.h1(tls=self.tls) as client:
            body = json.dumps(asking(*models)).encode()
            await client.request("POST", "/compare-stream", body)
            answer = await client.whole()
            return client.status, client.headers, answer


@asynccontextmanager
async def _torn_down(
    address: Address, receive_buffer: int | None
) -> AsyncIterator[trio.SocketStream]:
    stream = await connect(address, receive_buffer=receive_buffer)
    try:
        yield stream
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
