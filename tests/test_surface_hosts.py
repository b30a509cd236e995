"""The names that the service answers to."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio

from service.settings import Server, Settings
from service.surface import parse_host
from service.surface.hosts import Hosts
from service.testing import Script, app_for, open_app, open_server
from tests.clients import asking, call, connect
from tests.h2client import open_h2

NAMES = ("compare.example.org", "*.internal.example", "Localhost", "192.0.2.7", "[2001:db8::0:1]")
PROBES = ["/health", "/readyz", "/api/health", "/api/readyz"]


def app_with(*hosts: str) -> Any:
    return app_for(Script("a", (0, "x")), settings=Settings(server=Server(hosts=hosts)))


OURS = [
    b"compare.example.org",
    b"COMPARE.Example.ORG",
    b"compare.example.org:8000",
    b"compare.example.org:",
    b"compare.example.org.",
    b"a.internal.example",
    b"a.b.internal.example:1",
    b"localhost:8000",
    b"192.0.2.7:80",
    b"[2001:db8::1]",
    b"[2001:0DB8:0::1]:8000",
]
OTHERS = [
    b"example.org",
    b"evil.example",
    b"compare.example.org.evil.example",
    b"xcompare.example.org",
    b"internal.example",
    b"evilinternal.example",
    b"127.0.0.1",
    b"192.0.2.7.example",
    b"[2001:db8::2]",
    b"[::1]",
]
MALFORMED = [
    b"",
    b" ",
    b":8000",
    b"*.internal.example",
    b".internal.example",
    b"..internal.example",
    b"compare.example.org:80:80",
    b"compare.example.org:x",
    b"compare.example.org, evil.example",
    b"compare.example.org/",
    b"me@compare.example.org",
    b"http://compare.example.org",
    b"2001:db8::1",
    b"[2001:db8::1",
    b"[2001:db8::g]",
    b"[::1%25lo]",
    b"comp\xe4re.example.org",
    b"\xff\xfe",
    "compare.example.org\u2025".encode(),
    b"-.example",
]


def host_of(values: list[bytes]) -> int:
    denial = Hosts(NAMES).denial_of(values)
    return denial.status if denial else 200


def test_a_listed_name_is_ours_whatever_its_port_and_its_letters() -> None:
    assert {value: host_of([value]) for value in OURS} == dict.fromkeys(OURS, 200)


def test_any_other_name_is_not() -> None:
    assert {value: host_of([value]) for value in OTHERS} == dict.fromkeys(OTHERS, 421)


def test_what_is_no_name_is_a_bad_request() -> None:
    assert {value: host_of([value]) for value in MALFORMED} == dict.fromkeys(MALFORMED, 400)
    assert host_of([]) == 400
    assert host_of([OURS[0], OURS[0]]) == 400


@pytest.mark.parametrize("unit", [b"a", b"a.", b"a-", b"-", b"[", b":", b".", b"\xff", b"1"])
def test_no_host_makes_the_look_at_it_slow(unit: bytes) -> None:
    began = time.perf_counter()
    host_of([unit * (64 * 1024 // len(unit)) + b"!"])
    assert time.perf_counter() - began < 1  # some 5 ms


@pytest.mark.parametrize("text", ["[::1]", "::1", "a_b", "*.x", "127.0.0.1"])
def test_a_name_of_the_settings_is_taken(text: str) -> None:
    assert parse_host(text)


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("compare.example.org:1", 200, None),
        ("evil.example", 421, "wrong_host"),
        ("a b", 400, "bad_request"),
    ],
)
async def test_a_request_by_another_name_is_refused_wherever_it_goes(
    host: str, status: int, code: str | None
) -> None:
    async with open_app(app := app_with("compare.example.org")):
        for method, path in (
            ("POST", "/compare"),
            ("POST", "/api/compare-stream"),
            ("GET", "/models"),
            ("GET", "/"),
            ("GET", "/docs"),
        ):
            question = asking("a:m") if method == "POST" else None
            reply = await call(app, method, path, json_body=question, headers={"Host": host})
            assert reply.status == status
            if code is not None:
                assert list(reply.json()) == ["detail", "code"]
                assert reply.json()["code"] == code


async def test_a_probe_comes_by_any_name() -> None:
    async with open_app(app := app_with("compare.example.org")):
        for path in PROBES:
            assert (await call(app, "GET", path, headers={"Host": "10.1.2.3"})).status == 200


async def test_without_configured_names_any_will_do() -> None:
    async with open_app(app := app_with()):
        reply = await call(app, "GET", "/models", headers={"Host": "evil.example"})
    assert reply.status == 200


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        (["compare.example.org"], b"COMPARE.example.org:8000", b"200"),
        (["compare.example.org"], b"evil.example", b"421"),
        (["compare.example.org"], b"\xe4\xff.example", b"400"),
        ([], b"\xe4\xff.example", b"200"),
    ],
)
async def test_the_bytes_of_a_host_are_looked_at_over_http1(
    hosts: list[str], host: bytes, status: bytes
) -> None:
    request = b"GET /models HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host
    with trio.fail_after(5):
        async with open_server(app_with(*hosts)) as url, await connect(url) as client:
            await client.send_all(request)
            answer = b"".join([bytes(part) async for part in client])
    assert answer.startswith(b"HTTP/1.1 %b " % status)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://evil.example/models", b"ours.example", b"421"),
        (b"http://ours.example/models", b"evil.example", b"200"),
        (b"HTTP://Ours.example:80/models?x=1", b"evil.example", b"200"),
        (b"http://ours.example", b"evil.example", b"200"),
        (b"http://me@ours.example/models", b"ours.example", b"400"),
    ],
)
async def test_a_host_in_the_target_counts_and_not_the_header(
    target: bytes, host: bytes, status: bytes
) -> None:
    request = b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, host)
    with trio.fail_after(5):
        async with open_server(app_with("ours.example")) as url, await connect(url) as client:
            await client.send_all(request)
            answer = b"".join([bytes(part) async for part in client])
    assert answer.startswith(b"HTTP/1.1 %b " % status)


async def test_over_http2_the_authority_is_the_host() -> None:
    with trio.fail_after(5):
        async with open_server(app_with("ours.example")) as url:
            for authority, status in (("ours.example:1", "200"), ("evil.example", "421")):
                async with open_h2(await connect(url), f"http://{authority}") as client:
                    stream = await client.get("/models")
                    await client.finish(stream)
                assert stream.headers[":status"] == status


@pytest.mark.parametrize("size", [100, 5_000_000])
async def test_the_body_of_a_request_by_another_name_is_not_waited_for(size: int) -> None:
    head = b"POST /compare HTTP/1.1\r\nHost: evil.example\r\nContent-Length: %d\r\n\r\n" % size
    with trio.fail_after(5):
        async with open_server(app_with("ours.example")) as url, await connect(url) as client:
            await client.send_all(head)
            answer = await client.receive_some()
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"connection: close\r\n" in answer.lower()


@pytest.mark.parametrize("host", ["a..b", ".", "x" * 64, "x" * 64 + ":80"])
async def test_a_host_that_can_be_no_name_is_refused_whatever_the_settings(host: str) -> None:
    app = app_for(Script("a", (0, "x")))
    async with open_app(app):
        reply = await call(app, "GET", "/health", headers={"Host": host})
    assert reply.status == 400
    assert reply.json()["code"] == "bad_request"
