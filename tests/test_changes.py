"""What differs between two readings of the settings."""

from __future__ import annotations

import pytest

from service.changes import changes
from service.settings import Limits, ProviderSettings, Server, Settings

OPENAI = ProviderSettings(dialect="openai", base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (Settings(), Settings(), []),
        (Settings(), Settings(limits=Limits(max_models=3)), ["limits.max_models"]),
        (Settings(), Settings(default_provider="p"), ["default_provider"]),
        (
            Settings(server=Server(api_keys={"a": "1", "b": "2"})),
            Settings(server=Server(api_keys={"b": "3", "c": "4"}, hosts=("h",))),
            ["server.api_keys.a", "server.api_keys.b", "server.api_keys.c", "server.hosts"],
        ),
        (
            Settings(providers={"a": OPENAI, "b": OPENAI}, keys={"a": "1", "b": "2"}),
            Settings(
                providers={"b": ProviderSettings(dialect="ollama", base_url="http://h")},
                keys={"b": "3"},
            ),
            ["providers.a", "providers.b.dialect", "providers.b.base_url", "keys.a", "keys.b"],
        ),
    ],
)
def test_what_has_changed_is_told_by_name_and_never_by_value(
    before: Settings, after: Settings, names: list[str]
) -> None:
    assert changes(before, after) == names
