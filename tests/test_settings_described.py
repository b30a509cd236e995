"""Settings in words: what each takes, and what is in effect, from where, without a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Struct

from service.settings import describing, load, settings_by_table
from service.settings.about import About, Seconds
from tests.command import run

KEY = "looks-like-no-key-at-all"
DIGEST = f"sha256:{'ab' * 32}"
FILE = f"""
[limits]
max_models = 4
max_comparisons = 256

[server]
cors_origins = ["https://a.example", "https://b.example"]

[server.api_keys]
laptop = "{DIGEST}"

[providers.openrouter]
dialect = "openai"
base_url = "https://openrouter.ai/api/v1"
api_key_env = "THE_KEY"
transport = "httpx"
proxy = "http://alice:pass@word@proxy.example:3128"
app_title = "mine, by {KEY}"

[providers.claude]
dialect = "anthropic"
base_url = "http://127.0.0.1:1"
"""


def told(tmp_path: Path, text: str | None, **environ: Any) -> dict[str, dict[str, Any]]:
    """What `compare-stream settings --json` says, by the settings' names."""
    arguments = []
    if text is not None:
        path = tmp_path / "compare.toml"
        path.write_text(text)
        arguments = ["--config", str(path)]
    result = run("settings", "--json", *arguments, **environ)
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    words = json.loads(result.stdout)
    assert words["file"] == (arguments[1] if arguments else None)
    return {setting["name"]: setting for setting in words["settings"]}


def test_every_setting_has_a_reason_and_no_cell_breaks_its_table() -> None:
    for settings in settings_by_table().values():
        for setting in settings:
            assert setting.about.reason, setting.name
            cells = (setting.about.unit, setting.about.reason, setting.takes, setting.default_shown)
            assert not [cell for cell in cells if "|" in cell or "\n" in cell], setting.name


def test_a_setting_without_a_reason_can_not_be_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Incomplete(Struct):
        said: Annotated[Seconds, About("seconds", "because")] = 1
        unsaid: Seconds = 1

    monkeypatch.setattr(describing, "ProviderSettings", Incomplete)
    with pytest.raises(TypeError, match=r"providers.<name>.unsaid has no About"):
        settings_by_table()


def test_what_is_said_of_the_types_is_what_they_take() -> None:
    by_name = {s.name: s.takes for settings in settings_by_table().values() for s in settings}
    assert by_name["max_models"] == "whole number from 1"
    assert by_name["max_concurrency"] == "whole number from 1"
    assert by_name["drain"] == "number above 0"
    assert by_name["heartbeat"] == "number from 0.01"
    assert by_name["transport"] == '`"streams"`, `"httpx"`'
    assert by_name["hosts"] == "list"


def test_the_defaults_that_are_told_are_those_that_hold() -> None:
    settings = load(None, {})
    for table, of_table in settings_by_table().items():
        if hasattr(settings, table):
            section = getattr(settings, table)
            assert {s.name: s.default for s in of_table} == msgspec.structs.asdict(section)


def test_what_is_in_effect_comes_from_the_file_or_is_a_default(tmp_path: Path) -> None:
    settings = told(tmp_path, FILE, THE_KEY=KEY)

    def fact(name: str) -> tuple[Any, Any, str]:
        return settings[name]["value"], settings[name]["default"], settings[name]["from"]

    assert fact("limits.max_models") == (4, 9, "file")
    assert fact("limits.max_comparisons") == (256, 256, "file")  # said, though it is the default
    assert fact("deadlines.first_token") == (30, 30, "default")
    assert fact("providers.openrouter.transport") == ("httpx", "streams", "file")
    assert fact("providers.openrouter.flavour") == (None, None, "default")
    assert fact("providers.sim.dialect") == ("simulated", None, "default")
    assert fact("default_provider") == ("openrouter", "sim", "default")
    assert settings["deadlines.first_token"]["takes"] == "number above 0"
    assert (
        settings["deadlines.first_token"]["unit"] == "seconds from the connection to the first text"
    )
    assert settings["stream.flush_ms"]["reason"].endswith(" What load is. 0: nothing ever waits")


def test_every_setting_that_has_an_effect_is_told_and_no_other(tmp_path: Path) -> None:
    names = set(told(tmp_path, FILE, THE_KEY=KEY))
    described = settings_by_table()
    expected = {
        f"{table}.{setting.name}" if table else setting.name
        for table, settings in described.items()
        if not table.startswith("providers.")
        for setting in settings
    }
    for provider, dialect in (("openrouter", "openai"), ("claude", "anthropic"), ("sim", "")):
        of_it = described["providers.<name>"]
        only = dialect or "simulated"
        expected |= {f"providers.{provider}.{s.name}" for s in of_it if s.about.only in ("", only)}
        if dialect:
            expected.add(f"providers.{provider}.key")
    assert names == expected


def test_providers_of_the_environment_are_told_as_such(tmp_path: Path) -> None:
    settings = told(tmp_path, None, OPENROUTER_API_KEY=KEY)
    for name in ("dialect", "base_url", "api_key_env", "key"):
        assert settings[f"providers.openrouter.{name}"]["from"] == "environment"
    assert settings["providers.openrouter.max_concurrency"]["from"] == "default"
    assert settings["default_provider"]["from"] == "environment"
    assert told(tmp_path, None)["default_provider"]["from"] == "default"


def test_of_a_key_it_is_told_whether_it_is_there_and_never_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "compare.toml"
    path.write_text(FILE)
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    ways: list[dict[str, Any]] = [{"THE_KEY": KEY}, {"THE_KEY_FILE": str(secret)}]
    for variables in ways:
        for form in ([], ["--json"]):
            result = run("settings", *form, "--config", str(path), **variables)
            assert result.exit_code == 0
            for hidden in (KEY, DIGEST, DIGEST[7:], "alice", "pass@", "@word"):
                assert hidden not in result.output, hidden
    settings = told(tmp_path, FILE, THE_KEY=KEY)
    assert settings["providers.openrouter.key"]["value"] == "set"
    assert settings["providers.claude.key"]["value"] == "not set"
    assert settings["server.api_keys"]["value"] == {"laptop": "set"}
    assert settings["providers.openrouter.proxy"]["value"] == "http://[hidden]@proxy.example:3128"
    assert settings["providers.openrouter.app_title"]["value"] == "mine, by [hidden]"


def test_for_people_it_is_one_line_for_each_with_the_columns_aligned(tmp_path: Path) -> None:
    path = tmp_path / "compare.toml"
    path.write_text(FILE)
    result = run("settings", COMPARE_CONFIG=str(path), THE_KEY=KEY)
    first, blank, head, *rows = result.stdout.splitlines()
    assert (first, blank) == (f"file: {path}", "")
    assert head.split() == ["setting", "value", "default", "from", "takes", "unit"]
    assert len(rows) == len(told(tmp_path, FILE, THE_KEY=KEY))
    [line] = [row for row in rows if row.startswith("limits.max_models ")]
    assert line.split()[:4] == ["limits.max_models", "4", "9", "file"]
    assert {row[head.index("from") - 1] for row in rows} == {" "}
    narrow = run("settings", COLUMNS="70")
    assert max(map(len, narrow.stdout.splitlines())) == 70


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nmax_modelz = 1", "limits.max_modelz: unknown key"),
        (FILE, "providers.openrouter.api_key_env: the variable THE_KEY is not set"),
        ("limits =", "is not valid TOML"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "compare.toml"
    path.write_text(text)
    result = run("settings", "--config", str(path))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert words in result.stderr
