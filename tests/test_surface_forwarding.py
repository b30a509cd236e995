"""The client's address, where a proxy passes its request on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.settings import Limits, Server, Settings
from service.surface.forwarding import Proxies
from service.testing import Script, app_for, open_app, open_server
from tests.clients import asking, call

TRUSTED = ("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48", "unix")
PROXY, CLIENT = "10.1.2.3", "198.51.100.7"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        pytest.param("", PROXY, id="nothing is said"),
        pytest.param(CLIENT, CLIENT, id="one"),
        pytest.param(f"203.0.113.9, {CLIENT}", CLIENT, id="what the client claims is not believed"),
        pytest.param(f"203.0.113.9,10.9.9.9,{CLIENT},10.0.0.1", CLIENT, id="two proxies of ours"),
        pytest.param("10.0.0.2, 10.0.0.1", "10.0.0.2", id="all of them are ours"),
        pytest.param(f"{CLIENT}:4711", CLIENT, id="a port"),
        pytest.param("[2001:db8::7]:4711", "2001:db8::7", id="brackets and a port"),
        pytest.param("[2001:db8::7]", "2001:db8::7", id="brackets"),
        pytest.param("2001:DB8:0::7", "2001:db8::7", id="IPv6, written anew"),
        pytest.param(f"{CLIENT}, 2001:db8:1::5", CLIENT, id="a proxy with IPv6"),
        pytest.param(f"::ffff:{CLIENT}", CLIENT, id="IPv4 in IPv6"),
        pytest.param(f"{CLIENT}, ::ffff:10.0.0.1", CLIENT, id="a proxy with IPv4 in IPv6"),
        pytest.param(f"\t {CLIENT} ,, , ", CLIENT, id="white space and empty elements"),
        pytest.param("unknown", PROXY, id="a word"),
        pytest.param(f"{CLIENT}, unknown, 10.0.0.1", "10.0.0.1", id="a word between"),
        pytest.param(f"{CLIENT}, 999.1.1.1", PROXY, id="no address"),
        pytest.param(f"{CLIENT}, 010.0.0.1", PROXY, id="leading zeros"),
        pytest.param(f'{CLIENT}, "10.0.0.1"', PROXY, id="quotes"),
        pytest.param(f"{CLIENT}, [10.0.0.1", PROXY, id="half of the brackets"),
        pytest.param(f"{CLIENT}, 10.0.0.1:x", PROXY, id="no port"),
        pytest.param(f"{CLIENT}, \u00ff\u00fe", PROXY, id="no ASCII"),
        pytest.param(f"{CLIENT}, \u00b2.1.1.1", PROXY, id="digits that are none"),
        pytest.param(f"{CLIENT}, unix", PROXY, id="the word for a socket"),
        pytest.param(f"{CLIENT}, _hidden, 10.0.0.1", "10.0.0.1", id="an obfuscated name"),
        pytest.param("," * 60_000, PROXY, id="commas"),
        pytest.param("10.0.0.1," * 7000 + CLIENT, CLIENT, id="very long"),
        pytest.param(f"{CLIENT}," + "10.0.0.1," * 7000, CLIENT, id="very long, and all ours"),
    ],
)
def test_the_first_from_the_right_that_is_not_ours_is_the_client(
    forwarded: str, client: str
) -> None:
    assert Proxies(TRUSTED).client_of(PROXY, forwarded) == client


@pytest.mark.parametrize("peer", ["127.0.0.1", "::ffff:127.0.0.1", "2001:db8:1::9", None, ""])
def test_a_trusted_peer_is_believed(peer: str | None) -> None:
    assert Proxies(TRUSTED).client_of(peer, CLIENT) == CLIENT


@pytest.mark.parametrize(
    "peer", ["127.0.0.2", "11.0.0.1", "::1", "2001:db8:2::1", "fe80::1%eth0", "", None, "x"]
)
def test_any_other_peer_is_not(peer: str | None) -> None:
    assert Proxies(("127.0.0.1", "10.0.0.0/8")).client_of(peer, CLIENT) == peer


def test_a_link_local_proxy_is_known_whatever_the_interface() -> None:
    assert Proxies(("fe80::/10",)).client_of("fe80::1%eth0", CLIENT) == CLIENT


def app_with(*trusted: str, peer: tuple[str, int] | None = None) -> Any:
    """An application that is asked from this peer; from that of the harness where none is given."""
    settings = Settings(
        server=Server(trusted_proxies=trusted), limits=Limits(daily_model_responses=1)
    )
    app: Any = app_for(Script("a", (0, "x")), settings=settings)

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "client": peer}, receive, send)

    return asked


async def address_told(app: Any, forwarded: str | None = CLIENT) -> str:
    headers = {"X-Forwarded-For": forwarded} if forwarded is not None else {}
    async with open_app(app):
        status = (await call(app, "GET", "/rate-limit-status", headers=headers)).json()
    return str(status["ip_address"])


@pytest.mark.parametrize(
    ("trusted", "peer", "expected"),
    [
        ((PROXY,), (PROXY, 1), CLIENT),
        ((PROXY,), ("10.1.2.4", 1), "10.1.2.4"),
        ((), (PROXY, 1), PROXY),
        (("unix",), None, CLIENT),
        (("127.0.0.1",), None, "local"),
    ],
)
async def test_only_a_trusted_peers_word_is_taken(
    trusted: tuple[str, ...], peer: tuple[str, int] | None, expected: str
) -> None:
    assert await address_told(app_with(*trusted, peer=peer)) == expected


async def test_a_socket_that_says_nothing_stays_local() -> None:
    assert await address_told(app_with("unix"), None) == "local"


async def test_each_client_behind_a_proxy_has_an_allowance_of_its_own() -> None:
    app = app_with(PROXY, peer=(PROXY, 1))
    async with open_app(app):
        statuses = [
            (
                await call(
                    app,
                    "POST",
                    "/compare",
                    json_body=asking("a:m"),
                    headers={"X-Forwarded-For": f"203.0.113.{invented}, {client}"},
                )
            ).status
            for invented, client in enumerate([CLIENT, CLIENT, "198.51.100.8", CLIENT])
        ]
    assert statuses == [200, 429, 200, 429]


@pytest.mark.parametrize(
    ("trusted", "expected"), [(["127.0.0.1"], "203.0.113.9"), ([], "127.0.0.1")]
)
async def test_over_a_socket_all_lines_of_the_header_are_one_list(
    trusted: list[str], expected: str
) -> None:
    settings = Settings(server=Server(trusted_proxies=tuple(trusted)))
    lines = [("X-Forwarded-For", CLIENT), ("X-Forwarded-For", "203.0.113.9, 127.0.0.1")]
    async with (
        open_server(app_for(Script("a"), settings=settings)) as url,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        reply = await client.get(f"{url}/rate-limit-status", headers=lines)
    assert reply.json()["ip_address"] == expected
