"""The files under docs/operations/ are those that are tested, and nothing is left of a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trustme

from tests.proxies.conftest import BOUND, Front
from tests.proxies.examples import EXAMPLES, Change, Example, Place, changed
from tests.proxies.running import open_proxy


def test_a_change_that_finds_nothing_to_change_is_an_error() -> None:
    with pytest.raises(ValueError, match="stands there 0 times, not 1"):
        Change("proxy_buffering on", "").apply("proxy_buffering off;\n")
    with pytest.raises(ValueError, match="stands there 2 times, not 1"):
        Change("listen 443", "").apply("listen 443;\nlisten 443;\n")


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_little_of_an_example_is_otherwise_in_a_test(example: Example, tmp_path: Path) -> None:
    place = Place(folder=tmp_path, https=1, http=2, service="127.0.0.1:3")
    given, tested = example.text().splitlines(), changed(example, place).splitlines()
    rules = [line for line in given if line.strip() and not line.strip().startswith("#")]
    assert (
        len([line for line in rules if line in tested])
        >= len(rules) - len(example.changes(place)) - 1
    )


async def test_a_proxy_is_gone_with_all_that_it_wrote(front: Front, authority: trustme.CA) -> None:
    with trio.fail_after(BOUND):
        async with open_proxy(front.example, front.path, authority, "127.0.0.1:9") as proxy:
            folder = proxy.place.folder
            assert folder.exists()
        assert not folder.exists()
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", proxy.place.https)


async def test_a_proxy_that_does_not_start_says_why(front: Front, authority: trustme.CA) -> None:
    broken = front.example.with_changes(Change(r"\A", "no-such-setting { \n"))
    with trio.fail_after(BOUND), pytest.raises(AssertionError, match="did not start") as raised:
        async with open_proxy(broken, front.path, authority, "127.0.0.1:9"):
            pass
    said = raised.value.__notes__[0]
    assert said.startswith(f"{front.program} said: ")
    assert front.example.file in said
