"""The warning to an operator who lets strangers in."""

from __future__ import annotations

import re

import pytest

from service.exposure import warning_for
from service.settings import ProviderSettings, Server, Settings
from service.surface import make_key

REMOTE = ProviderSettings(dialect="openai", base_url="http://192.0.2.1/v1")
SIMULATED = Settings()
PAID = Settings(providers={**SIMULATED.providers, "acme": REMOTE}, keys={"acme": "k"})
LOCAL = Settings(providers={**SIMULATED.providers, "ollama": REMOTE})


def warning(address: str, settings: Settings = PAID) -> str:
    found = warning_for([address], settings)
    assert found is not None, address
    assert re.fullmatch(r"[^\n]+\.", found)
    return found


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:8000",
        "127.8.9.1:8000",
        "http://127.0.0.1:8000",
        "[::1]:8000",
        "https://[::1]:8443",
        "::1",
        "[::ffff:127.0.0.1]:80",
        "localhost:8000",
        "unix:/run/compare.sock",
        "unix:relative.sock",
    ],
)
def test_what_only_this_machine_reaches_needs_no_warning(address: str) -> None:
    assert warning_for([address], PAID) is None


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("0.0.0.0:8000", "everybody who can reach this machine"),
        ("[::]:8000", "everybody who can reach this machine"),
        (":8000", "everybody who can reach this machine"),
        ("http://0.0.0.0:8000", "everybody who can reach this machine"),
        ("192.168.1.5:8000", "everybody on its network"),
        ("10.0.0.1:8000", "everybody on its network"),
        ("[fd00::1]:8000", "everybody on its network"),
        ("[fe80::1%eth0]:8000", "everybody on its network"),
        ("8.8.8.8:443", "everybody on the internet"),
        ("https://[2600::1]:443", "everybody on the internet"),
        ("compare.example.org:8000", "everybody who can reach that name"),
    ],
)
def test_who_can_reach_an_address_is_said(address: str, who: str) -> None:
    words = warning(address)
    assert words.startswith(f"No key is asked for at {address}: {who} can ")
    assert "api_keys" in words
    assert "127.0.0.1" in words


def test_what_is_at_stake_is_said() -> None:
    assert "can spend the credit of your keys (acme);" in warning("0.0.0.0:1", PAID)
    assert "can put your providers to work (ollama);" in warning("0.0.0.0:1", LOCAL)
    assert "only simulated models, which cost nothing;" in warning("0.0.0.0:1", SIMULATED)


def test_the_first_address_that_others_reach_is_named() -> None:
    bound = ["127.0.0.1:1", "unix:/x", "10.0.0.1:2", "0.0.0.0:3"]
    found = warning_for(bound, PAID)
    assert found is not None
    assert "10.0.0.1:2" in found
    assert warning_for([], PAID) is None


def test_who_asks_for_keys_is_not_warned() -> None:
    _, digest = make_key()
    guarded = Settings(server=Server(api_keys={"k": digest}), keys={"acme": "k"})
    assert warning_for(["0.0.0.0:8000"], guarded) is None
