"""Whose address it is, and what is not for those outside."""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx
import trio

from tests.chaos.waiting import until
from tests.proxies.behind import INSIDE, open_behind
from tests.proxies.clients import HERE, PROTOCOLS, open_client
from tests.proxies.conftest import BOUND, Front

FORGED = [
    {"X-Forwarded-For": "192.0.2.7"},
    {"X-Forwarded-For": "192.0.2.7, 127.0.0.1"},
    {"x-forwarded-for": "192.0.2.7,"},
    {"Forwarded": "for=192.0.2.7", "X-Real-IP": "192.0.2.7", "X-Client-IP": "192.0.2.7"},
]
SPELLINGS = [
    "/metrics",
    "/metrics/",
    "/metrics?name[]=process_open_fds",
    "/api/metrics",
    "/%6detrics",
    "/api/%6Detrics",
    "/api%2Fmetrics",
    "/api%2fmetrics%2f",
    "/metrics%2F",
    "//metrics",
    "/api//metrics",
    "/./metrics",
    "/health/../metrics",
    "/health/%2e%2e/metrics",
]


async def address_of(url: str, source: str, headers: Mapping[str, str]) -> str:
    """What the service takes for the address of whoever asks it directly."""
    transport = httpx.AsyncHTTPTransport(local_address=source, verify=False)
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await client.get(f"http://{url}/rate-limit-status", headers=headers)
    return str(answer.json()["ip_address"])


async def test_the_service_sees_the_clients_address_whatever_the_client_says(
    front: Front,
) -> None:
    with trio.fail_after(BOUND):
        async with front.open() as (proxy, _behind):
            for protocol in PROTOCOLS:
                async with open_client(proxy, front.authority, protocol) as client:
                    for headers in ({}, *FORGED):
                        answer = await client.call("GET", "/rate-limit-status", b"", headers)
                        assert json.loads(answer)["ip_address"] == HERE, headers


async def test_the_proxys_word_is_taken_and_nobody_elses() -> None:
    with trio.fail_after(BOUND):
        async with open_behind() as behind:
            for headers in FORGED:
                assert await address_of(behind.address, "127.0.0.6", headers) == "127.0.0.6"
            # So it is the header that is believed above, and the hop that it came from.
            assert await address_of(behind.address, "127.0.0.1", FORGED[0]) == "192.0.2.7"


async def test_metrics_are_not_to_be_had_from_outside_however_they_are_spelt(
    front: Front,
) -> None:
    with trio.fail_after(BOUND):
        async with front.open() as (proxy, behind), httpx.AsyncClient(verify=False) as inside:
            for path in ("/metrics", "/api/metrics"):
                answer = await inside.get(f"http://{behind.address}{path}")
                assert answer.content == INSIDE
            async with open_client(proxy, front.authority, "h2") as client:
                for path in SPELLINGS:
                    await client.call("GET", path)
                    assert INSIDE not in client.body, path
                    assert client.status in (301, 308, 400, 404), path
            for path in ("/metrics", "https://compare.example.org/metrics"):
                async with open_client(proxy, front.authority, "http/1.1") as client:
                    await client.call("GET", path)
                    assert client.status == 404


async def test_no_key_of_a_caller_is_in_the_access_log(front: Front) -> None:
    secret = "csk-0123456789"
    keys = {"X-API-Key": secret, "Authorization": f"Bearer {secret}"}
    with trio.fail_after(BOUND):
        async with (
            front.open() as (proxy, _behind),
            open_client(proxy, front.authority, "h2") as client,
        ):
            await client.call("GET", "/models?marked", b"", keys)
            await until(
                lambda: "?marked" in proxy.logged(), within=BOUND, what="the request logged"
            )
            assert secret not in proxy.logged()


async def test_who_asks_without_tls_is_sent_to_where_it_is(front: Front) -> None:
    with trio.fail_after(BOUND):
        async with front.open() as (proxy, _behind), httpx.AsyncClient(verify=False) as client:
            address = f"http://127.0.0.1:{proxy.place.http}/compare?x=1"
            answer = await client.post(address, headers={"Host": "compare.example.org"})
            assert answer.status_code == 308
            assert answer.headers["location"].startswith("https://compare.example.org")
            assert answer.headers["location"].endswith("/compare?x=1")
