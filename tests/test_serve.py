"""`compare-stream serve` and Hypercorn's own command: start, answer, stop."""

from __future__ import annotations

import json
import resource
import signal
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from tests.command import running


async def first_line(stream: trio.abc.ReceiveStream | None) -> str:
    assert stream is not None
    received = b""
    while b"\n" not in received:
        data = await stream.receive_some()
        assert data, f"it ended after {received!r}"
        received += data
    return received.decode()


async def received(client: trio.SocketStream, expected: bytes) -> None:
    """Read until `expected` has come."""
    got = b""
    while expected not in got:
        data = await client.receive_some()
        assert data, f"it ended after {got!r}"
        got += data


async def url_of(process: trio.Process) -> str:
    """The address that the ready line prints."""
    line = await first_line(process.stdout)
    assert line.startswith("compare-stream is ready: http")
    return line.split()[3]


async def test_it_prints_its_address_when_it_is_ready_and_ends_on_a_signal() -> None:
    with trio.fail_after(20):
        for sent in (signal.SIGTERM, signal.SIGINT):
            async with running("serve", "--bind", "127.0.0.1:0") as process:
                url = await url_of(process)
                async with httpx.AsyncClient() as client:
                    assert (await client.get(f"{url}/health")).json() == {"status": "healthy"}
                process.send_signal(sent)
                assert await process.wait() == 0


async def test_after_a_signal_a_running_comparison_goes_on_and_a_second_signal_ends_it() -> None:
    with trio.fail_after(20):
        async with running("serve", "--bind", "127.0.0.1:0") as process:
            url = await url_of(process)
            body = json.dumps({"input_data": "q", "models": ["sim:stalls"]})
            request = (
                "POST /compare-stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
            port = int(url.rpartition(":")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(request.encode())
                await received(client, b'"start"')
                process.send_signal(signal.SIGTERM)
                await received(client, b'"chunk"')  # the model still writes until it stalls
                assert process.poll() is None
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0


async def test_it_may_open_as_many_files_as_the_system_allows() -> None:
    lowered = ("sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh")
    with trio.fail_after(20):
        async with running("serve", "--bind", "127.0.0.1:0", shell=lowered) as process:
            await url_of(process)
            soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard > 64


async def test_a_start_that_strangers_can_reach_is_warned_of() -> None:
    with trio.fail_after(20):
        async with running("serve", "--bind", "0.0.0.0:0") as process:
            line = json.loads(await first_line(process.stderr))
            await url_of(process)
    assert (line["event"], line["level"]) == ("no key is asked for", "warning")
    assert "everybody who can reach this machine" in line["warning"]
    assert "api_keys" in line["warning"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "keep_alive_timeot = 5",
            "keep_alive_timeot is no setting of Hypercorn's; is it misspelt?",
        ),
        ("max_requests = 5", "max_requests would end the process without a drain; leave it out."),
    ],
)
async def test_what_hypercorns_configuration_must_not_hold_ends_the_start(
    line: str, said: str, tmp_path: Path
) -> None:
    config = tmp_path / "hypercorn.toml"
    config.write_text(f'worker_class = "trio"\nworkers = 0\n{line}\n')
    with trio.fail_after(20):
        arguments = ("-c", str(config), "-b", "127.0.0.1:0", "service.app:app")
        async with running(*arguments, module="hypercorn") as process:
            assert await first_line(process.stderr) == f"compare-stream: {said}\n"
            assert await process.wait() == 1


async def test_an_address_in_use_is_one_line_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, trio.fail_after(20):
        port = taken.getsockname()[1]
        async with running("serve", "--bind", f"127.0.0.1:{port}") as process:
            line = await first_line(process.stderr)
            assert await process.wait() == 2
    assert line == f"compare-stream: cannot listen on 127.0.0.1:{port}: Address already in use.\n"


@pytest.mark.parametrize("bind", ["127.0.0.1:port", "127.0.0.1:99999", "nowhere.invalid:80"])
async def test_an_address_that_is_none_is_one_line_and_exit_code_2(bind: str) -> None:
    with trio.fail_after(20):
        async with running("serve", "--bind", bind) as process:
            line = await first_line(process.stderr)
            assert await process.wait() == 2
    assert line.startswith("compare-stream: ")
    assert bind in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "hypercorn"])
async def test_a_mistake_in_the_settings_is_one_line_and_no_traceback(
    tmp_path: Path, command: str
) -> None:
    config = tmp_path / "compare.toml"
    config.write_text("[limits]\nmax_modelz = 1\n")
    module, arguments = {
        "serve": ("service", ["serve"]),
        "hypercorn": (
            "hypercorn",
            ["-w", "0", "-k", "trio", "-b", "127.0.0.1:0", "service.app:app"],
        ),
    }[command]
    with trio.fail_after(20):
        async with running(*arguments, module=module, COMPARE_CONFIG=str(config)) as process:
            line = await first_line(process.stderr)
            assert await process.wait() != 0
    assert line.startswith(f"compare-stream: {config}: limits.max_modelz: unknown key")
    assert line.count("\n") == 1


async def test_hypercorns_own_command_serves_the_same_application(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("-c", "hypercorn.toml", "-b", f"127.0.0.1:{port}", "service.app:app")
    with trio.fail_after(20):
        async with running(*arguments, module="hypercorn") as process:
            await first_line(process.stderr)  # Hypercorn's "Running on ..."
            async with httpx.AsyncClient() as client:
                answer = await client.post(
                    f"http://127.0.0.1:{port}/api/compare",
                    json={"input_data": "q", "models": ["sim:terse"]},
                    timeout=15,
                )
            assert "sim:terse" in answer.json()["results"]
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def test_a_certificate_file_that_holds_its_key_is_enough_for_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    combined = tmp_path / "combined.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(combined)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with trio.fail_after(20):
        async with running(
            "serve", "--bind", "127.0.0.1:0", "--certfile", str(combined)
        ) as process:
            url = await url_of(process)
            async with httpx.AsyncClient(verify=trust) as client:
                assert url.startswith("https://")
                assert (await client.get(f"{url}/health")).status_code == 200


async def test_a_key_without_a_certificate_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    with trio.fail_after(20):
        async with running("serve", "--keyfile", str(key)) as process:
            assert await first_line(process.stderr) == (
                "compare-stream: --keyfile needs --certfile.\n"
            )
            assert await process.wait() == 2
