"""A server that is told to read its settings again: what is its own, and its certificate."""

from __future__ import annotations

import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
import trustme
from cryptography import x509

from service.application import create_app
from service.edge import Binding, Told, serve
from service.settings import Limits, Server, Settings, SettingsError, Stream
from service.testing import Script, Stall, roster_of
from tests.clients import connect, http1_request, read_until
from tests.edge.served import Flood

Line = dict[str, Any]
HEALTH = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"


@dataclass(slots=True)
class Running:
    """A server in this process."""

    url: str
    told: Told
    lines: list[Line]

    async def reload(self, event: str = "settings read again") -> Line:
        """Tell it to read its settings again, and wait for the line that says how that went."""
        known = len(self.said(event))
        self.told.reload.set()
        return (await self.until(event, known + 1))[-1]

    async def until(self, event: str, times: int = 1) -> list[Line]:
        """The lines of this event, once there are so many."""
        with trio.fail_after(10):
            await trio.lowlevel.checkpoint()
            while len(self.said(event)) < times:  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.005)
        return self.said(event)

    def said(self, event: str) -> list[Line]:
        return [line for line in self.lines if line["event"] == event]


@asynccontextmanager
async def open_running(
    lines: list[Line],
    settings: Settings,
    reread: Callable[[], Settings],
    *scripts: Script,
    **binding: Any,
) -> AsyncIterator[Running]:
    app = create_app(
        settings, open_roster=lambda chosen: roster_of(chosen, *scripts), reread=reread
    )
    told = Told()
    bound = Binding(**{"address": "127.0.0.1:0", **binding})
    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve, app, bound, told=told))
        try:
            yield Running(url, told, lines)
        finally:
            told.stop.set()
            told.hurry.set()


async def test_who_tells_it_while_it_reads_has_it_read_once_more(log_lines: list[Line]) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read: list[int] = []

    def reread() -> Settings:
        read.append(len(read))
        reading.set()
        go_on.wait(10)
        return Settings(limits=Limits(max_models=1 + len(read)))

    async with open_running(log_lines, Settings(), reread, Script("p")) as running:
        running.told.reload.set()
        await trio.to_thread.run_sync(reading.wait, 10)
        for _ in range(5):  # of which one more is made
            running.told.reload.set()
        go_on.set()
        await running.until("settings read again", 2)
        await trio.testing.wait_all_tasks_blocked(0.05)
    assert len(read) == 2
    changed = [line["changed"] for line in running.said("settings read again")]
    assert changed == ["limits.max_models"] * 2


async def test_connections_are_counted_by_the_bound_in_force(log_lines: list[Line]) -> None:
    after = Settings(server=Server(connections_per_address=1))
    async with (
        open_running(log_lines, Settings(), lambda: after, Script("p")) as running,
        await connect(running.url) as first,
    ):
        await first.send_all(HEALTH)
        await read_until(first, b"healthy")
        await running.reload()
        async with await connect(running.url) as second:
            with trio.fail_after(5):
                assert await second.receive_some() == b""
        # The one that was there is.
        await first.send_all(HEALTH)
        await read_until(first, b"healthy")


async def test_a_connection_keeps_the_write_timeout_it_began_with(log_lines: list[Line]) -> None:
    before = Settings(stream=Stream(write_timeout=60))
    after = Settings(stream=Stream(write_timeout=0.3))
    flood = Flood("p")
    async with (
        open_running(log_lines, before, lambda: after, flood) as running,
        await connect(running.url) as patient,
    ):
        await patient.send_all(http1_request("m"))
        await read_until(patient, b"chunk")  # and nothing more
        await running.reload()
        async with await connect(running.url) as short:
            await short.send_all(http1_request("m"))
            await read_until(short, b"chunk")
            await running.until("client cut")
        await trio.sleep(0.5)  # more than the other one had
        assert len(running.said("client cut")) == 1
        assert (flood.opened, flood.closed) == (2, 1)


async def test_whoever_lets_strangers_in_by_it_is_warned_as_at_the_start(
    log_lines: list[Line],
) -> None:
    closed = Settings(server=Server(api_keys={"a": "sha256:" + "0" * 64}))
    async with open_running(
        log_lines, closed, Settings, Script("p"), address="0.0.0.0:0"
    ) as running:
        assert not running.said("no key is asked for")
        await running.reload()
        [line] = running.said("no key is asked for")
        assert "everybody who can reach this machine" in line["warning"]


async def test_settings_that_have_not_changed_warn_nobody_again(log_lines: list[Line]) -> None:
    async with open_running(
        log_lines, Settings(), Settings, Script("p"), address="0.0.0.0:0"
    ) as running:
        await running.reload()
        assert len(running.said("no key is asked for")) == 1


async def test_told_in_the_drain_it_keeps_them_and_says_so(log_lines: list[Line]) -> None:
    script = Script("p", (0, "x"), (0, Stall()))
    after = Settings(limits=Limits(max_models=2))
    async with (
        open_running(log_lines, Settings(), lambda: after, script) as running,
        await connect(running.url) as client,
    ):
        await client.send_all(http1_request("m"))
        await read_until(client, b"chunk")
        running.told.stop.set()
        line = await running.reload("settings kept")
        assert (line["log_level"], line["reason"]) == ("info", "the process is stopping.")


# --- the certificate ----------------------------------------------------------------------------


class Issued:
    """The files of a certificate that is renewed, and a client that trusts who issues it."""

    def __init__(self, folder: Path) -> None:
        self.certfile, self.keyfile = folder / "cert.pem", folder / "key.pem"
        self._authority = trustme.CA()
        self.renew()

    def renew(self, kind: trustme.KeyType = trustme.KeyType.ECDSA) -> int:
        """Put another certificate in its place; its serial number."""
        issued = self._authority.issue_cert("127.0.0.1", "localhost", key_type=kind)
        issued.cert_chain_pems[0].write_to_path(self.certfile)
        issued.private_key_pem.write_to_path(self.keyfile)
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number

    async def connect(
        self,
        running: Running,
        *,
        name: str | None = "localhost",
        alpn: str = "h2",
        **options: Any,
    ) -> trio.SSLStream[trio.SocketStream]:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        context.set_alpn_protocols([alpn])
        for option, value in options.items():
            setattr(context, option, value)
        context.check_hostname = name is not None
        parts = urlsplit(running.url)
        tcp = await trio.open_tcp_stream("127.0.0.1", parts.port or 0)
        stream = trio.SSLStream(tcp, context, server_hostname=name, https_compatible=True)
        await stream.do_handshake()
        return stream

    async def shown(self, running: Running, **options: Any) -> int:
        """The serial number of what a new client is shown."""
        async with await self.connect(running, **options) as stream:
            assert stream.selected_alpn_protocol() == "h2"
            return x509.load_der_x509_certificate(
                stream.getpeercert(binary_form=True)
            ).serial_number


def with_certificate(lines: list[Line], issued: Issued, *scripts: Script, **more: Any) -> Any:
    options = {"certfile": issued.certfile, "keyfile": issued.keyfile, **more}
    return open_running(lines, Settings(), Settings, *(scripts or (Script("p"),)), **options)


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        (trustme.KeyType.ECDSA, ssl.TLSVersion.TLSv1_2),
        (trustme.KeyType.RSA, ssl.TLSVersion.TLSv1_3),
    ],
    ids=["same kind", "another kind"],
)
async def test_a_renewed_certificate_is_shown_to_whoever_comes_next(
    kind: trustme.KeyType, version: ssl.TLSVersion, tmp_path: Path, log_lines: list[Line]
) -> None:
    issued = Issued(tmp_path)
    async with with_certificate(log_lines, issued) as running:
        first = await issued.shown(running, maximum_version=version)
        second = issued.renew(kind)
        assert await issued.shown(running, maximum_version=version) == first
        assert (await running.reload())["changed"] == "certificate"
        assert await issued.shown(running, maximum_version=version) == second
        # Of a client that says no name, as one that connects by address does.
        assert await issued.shown(running, name=None, maximum_version=version) == second
        third = issued.renew()
        await running.reload()
        assert await issued.shown(running, maximum_version=version) == third


async def test_who_is_connected_goes_on_with_the_old_one(
    tmp_path: Path, log_lines: list[Line]
) -> None:
    issued = Issued(tmp_path)
    script = Script("p", (0, "x"), (0.2, "y"))
    async with (
        with_certificate(log_lines, issued, script) as running,
        await issued.connect(running, alpn="http/1.1") as stream,
    ):
        await stream.send_all(http1_request("m"))
        body = await read_until(stream, b'"chunk"')
        issued.renew()
        await running.reload()
        body += await read_until(stream, b'"complete"')
        assert b'"models_successful":1' in body


async def test_a_certificate_that_is_the_same_is_no_news(
    tmp_path: Path, log_lines: list[Line]
) -> None:
    issued = Issued(tmp_path)
    async with with_certificate(log_lines, issued) as running:
        issued.certfile.touch()
        assert (await running.reload())["changed"] == "nothing"


@pytest.mark.parametrize("mistake", ["another's key", "no certificate", "no file"])
async def test_a_certificate_that_can_not_be_used_keeps_the_settings_as_well(
    mistake: str, tmp_path: Path, log_lines: list[Line]
) -> None:
    issued = Issued(tmp_path)
    after = Settings(limits=Limits(max_models=1))
    options = {"certfile": issued.certfile, "keyfile": issued.keyfile}
    async with open_running(
        log_lines, Settings(), lambda: after, Script("p"), **options
    ) as running:
        first = await issued.shown(running)
        match mistake:
            case "another's key":
                other = trustme.CA().issue_cert("127.0.0.1")
                other.private_key_pem.write_to_path(issued.keyfile)
            case "no certificate":
                issued.certfile.write_text("not yet written")
            case _:
                issued.certfile.unlink()
        reason = (await running.reload("settings kept"))["reason"]
        assert reason.startswith(f"{issued.certfile} and {issued.keyfile}: no certificate with")
        assert await issued.shown(running) == first
        async with await issued.connect(running, alpn="http/1.1") as stream:
            await stream.send_all(http1_request("m", "n"))
            await read_until(stream, b"200")


async def test_a_mistake_in_the_settings_keeps_the_certificate_as_well(
    tmp_path: Path, log_lines: list[Line]
) -> None:
    issued = Issued(tmp_path)

    def reread() -> Settings:
        raise SettingsError("c.toml: a mistake.")

    options = {"certfile": issued.certfile, "keyfile": issued.keyfile}
    async with open_running(log_lines, Settings(), reread, Script("p"), **options) as running:
        first = await issued.shown(running)
        issued.renew()
        assert (await running.reload("settings kept"))["reason"] == "c.toml: a mistake."
        assert await issued.shown(running) == first
