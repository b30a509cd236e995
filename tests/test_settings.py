"""Settings: what a file may say, and the one line for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.patience import Patience
from service.settings import Settings, SettingsError, load

OPENROUTER = """
[providers.openrouter]
dialect = "openai"
base_url = "https://openrouter.ai/api/v1"
api_key_env = "OPENROUTER_API_KEY"
"""


def loaded(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "compare.toml"
    path.write_text(text)
    return load(path, environ)


def test_without_a_file_and_without_keys_the_simulator_is_all_there_is() -> None:
    settings = load(None, {})
    assert list(settings.providers) == ["sim"]
    assert settings.default_provider == "sim"


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load(None, {})
    limits, stream = settings.limits, settings.stream
    assert (limits.max_models, limits.max_comparisons) == (9, 256)
    assert (limits.max_body_bytes, limits.daily_model_responses) == (1048576, 0)
    assert settings.deadlines.patience() == Patience(connect=5, first_token=30, idle=60, total=300)
    assert (stream.heartbeat, stream.write_timeout, stream.flush_ms) == (10, 10, 50)


def test_lists_of_models_are_fetched_unless_it_is_said_or_the_settings_were_not_loaded(
    tmp_path: Path,
) -> None:
    assert load(None, {}).catalogue.refresh == 3600
    assert loaded(tmp_path, "[catalogue]\nrefresh = 0").catalogue.refresh == 0
    assert Settings().catalogue.refresh == 0


def test_a_provider_appears_for_each_key_in_the_environment() -> None:
    names = ["openrouter", "openai", "anthropic", "gemini"]
    settings = load(None, {f"{name.upper()}_API_KEY": f"k-{name}" for name in names})
    assert list(settings.providers) == [*names, "sim"]
    assert settings.default_provider == "openrouter"
    assert settings.keys == {name: f"k-{name}" for name in names}
    dialects = {name: settings.providers[name].dialect for name in names}
    assert dialects == {name: name.replace("router", "ai") for name in names}


def test_a_file_that_names_no_provider_leaves_those_of_the_environment(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[limits]\nmax_models = 3", OPENAI_API_KEY="k")
    assert list(settings.providers) == ["openai", "sim"]
    assert settings.limits.max_models == 3


def test_the_simulator_is_always_there(tmp_path: Path) -> None:
    settings = loaded(tmp_path, OPENROUTER, OPENROUTER_API_KEY="k")
    assert sorted(settings.providers) == ["openrouter", "sim"]


def test_the_variable_names_the_file_and_an_argument_wins(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("[limits]\nmax_models = 1")
    two.write_text("[limits]\nmax_models = 2")
    assert load(None, {"COMPARE_CONFIG": str(one)}).limits.max_models == 1
    assert load(two, {"COMPARE_CONFIG": str(one)}).limits.max_models == 2
    assert load(None, {"COMPARE_CONFIG": ""}).limits.max_models == 9


def test_a_key_may_stand_in_a_file_that_a_variable_names(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-the-file\n")
    settings = loaded(tmp_path, OPENROUTER, OPENROUTER_API_KEY_FILE=str(secret))
    assert settings.keys == {"openrouter": "from-the-file"}


def test_keys_do_not_show_when_settings_are_printed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, OPENROUTER, OPENROUTER_API_KEY="very-secret")
    assert "very-secret" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "key", "expectation"),
    [
        ("x = 1", "x", "unknown key; expected one of default_provider, limits"),
        ("limits = 3", "limits", "expected a table"),
        ("[limits]\nmax_modelz = 1", "limits.max_modelz", "unknown key; expected one of max_mod"),
        ("[limits]\nmax_models = 0", "limits.max_models", "expected int >= 1"),
        ("[limits]\nmax_models = '9'", "limits.max_models", "expected int, got str"),
        ("[deadlines]\nidle = 0", "deadlines.idle", "expected float > 0"),
        ("[stream]\nheartbeat = nan", "stream.heartbeat", "expected float >= 0.01"),
        ("[stream]\nflush_ms = -1", "stream.flush_ms", "expected float >= 0"),
        ("[catalogue]\nrefesh = 1", "catalogue.refesh", "unknown key; expected one of refresh"),
        ("[catalogue]\nrefresh = -1", "catalogue.refresh", "expected float >= 0"),
        ("[catalogue]\nrefresh = 0.5", "catalogue.refresh", "expected 0, or a second at least"),
        ("default_provider = 'x'", "default_provider", "expected one of sim"),
        ("default_provider = []", "default_provider", "expected one of sim"),
        ("providers = 1", "providers", "expected a table for each provider"),
        ("[providers.a]", "providers.a", "object missing required field dialect"),
        ("[providers.a]\ndialect = 'x'", "providers.a.dialect", "expected one of openai, "),
        (
            "[providers.a]\ndialect = 'openai'\nflavour = 'x'",
            "providers.a.flavour",
            "expected one of openrouter, openai, compatible",
        ),
        (
            "[providers.a]\ndialect = 'Gemini'",
            "providers.a.dialect",
            "one of openai, anthropic, gemini, ollama, simulated",
        ),
        *(
            (
                f"[providers.a]\ndialect = '{dialect}'",
                "providers.a.base_url",
                "is missing; expected the",
            )
            for dialect in ("openai", "anthropic", "gemini", "ollama")
        ),
        (
            "[providers.a]\ndialect = 'openai'\nbase_url = 'ftp://x'",
            "providers.a.base_url",
            "expected an http:// or https:// address",
        ),
        (
            "[providers.a]\ndialect = 'openai'\nbase_url = 'http://x:99999'",
            "providers.a.base_url",
            "expected an http:// or https:// address",
        ),
        (
            "[providers.a]\ndialect = 'openai'\nbase_url = 'http://u:p@x/v1'",
            "providers.a.base_url",
            "expected an address without a key",
        ),
        (
            "[providers.a]\ndialect = 'openai'\nbase_url = 'http://a b/v1'",
            "providers.a.base_url",
            "expected an http:// or https:// address",
        ),
        (
            '[providers.a]\ndialect = "simulated"\napp_title = "a\\nb"',
            "providers.a.app_title",
            "expected one line of text",
        ),
        ("[providers.'a:b']\ndialect = 'simulated'", "providers.a:b", "expected a name of letters"),
        ("[providers.sim]\ndialect = 'openai'", "providers.sim.dialect", "is the simulator's name"),
        (OPENROUTER, "providers.openrouter.api_key_env", "OPENROUTER_API_KEY is not set"),
        ("[server]\nhostz = []", "server.hostz", "unknown key; expected one of drain, "),
        ("[server]\ndrain = 0", "server.drain", "expected float > 0"),
        ("[server]\napi_keys = 'x'", "server.api_keys", "expected object, got str"),
        ("[server.api_keys]\na = 1", "server.api_keys[...]", "expected str, got int"),
        *(
            (f"[server]\napi_keys.a = '{digest}'", "server.api_keys.a", 'expected "sha256:" and')
            for digest in (
                "",
                "csk-in-clear",
                "sha256:" + "0" * 63,
                "sha256:" + "0" * 65,
                "sha256:" + "g" * 64,
                "sha512:" + "0" * 64,
                "0" * 64,
            )
        ),
        (
            "[server.api_keys]\n" + f"'a b' = 'sha256:{'0' * 64}'",
            "server.api_keys.a b",
            "expected a name of letters, digits, - and _",
        ),
        ("[server]\ncors_origins = '*'", "server.cors_origins", "expected array, got str"),
        *(
            (f"[server]\ncors_origins = ['*', '{origin}']", "server.cors_origins[1]", "an origin")
            for origin in (
                "",
                "null",
                "app.example.org",
                "https://app.example.org/",
                "https://app.example.org/x",
                "https://app.example.org?x",
                "https://me@app.example.org",
                "https://App.example.org",
                "https://app.example.org:443",
                "http://app.example.org:80",
                "https://app.example.org:0",
                "https://*.example.org",
                "https://é.example",
                "https://",
            )
        ),
        *(
            (f"[server]\nhosts = ['a', '{host}']", "server.hosts[1]", "a host name or address wi")
            for host in ("", "*", "a:80", "[::1]:80", "http://a", "a/b", "*.*.a", "a.*", "é", "..")
        ),
        *(
            (f"[server]\ntrusted_proxies = ['unix', '{proxy}']", "server.trusted_proxies[1]", words)
            for proxy, words in (
                ("", "expected an address, a network"),
                ("*", "expected an address, a network"),
                ("localhost", "expected an address, a network"),
                ("10.0.0.1:80", "expected an address, a network"),
                ("10.0.0.0/33", "expected an address, a network"),
                ("10.0.0", "expected an address, a network"),
                ("[::1]", "expected an address, a network"),
                ("10.0.0.1/8", 'has bits set behind its prefix; expected "10.0.0.0/8"'),
            )
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_file_the_key_and_what_was_expected(
    tmp_path: Path, text: str, key: str, expectation: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'compare.toml'}: {key}: ")
    assert expectation in line
    assert "\n" not in line


def test_the_surface_is_open_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    server = load(None, {}).server
    assert (server.api_keys, server.cors_origins) == ({}, ())
    assert (server.hosts, server.trusted_proxies) == ((), ())
    text = f"""
[server]
cors_origins = ["https://app.example.org", "http://localhost:3000", "http://[::1]:3000", "*"]
hosts = ["Compare.example.org", "*.example.org", "127.0.0.1", "[::1]", "my_service"]
trusted_proxies = ["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32", "unix"]
[server.api_keys]
laptop-1 = "sha256:{"0a" * 32}"
PHONE_2 = "sha256:{"0A" * 32}"
"""
    server = loaded(tmp_path, text).server
    assert list(server.api_keys) == ["laptop-1", "PHONE_2"]
    assert [len(server.cors_origins), len(server.hosts), len(server.trusted_proxies)] == [4, 5, 5]


def test_a_key_that_stands_in_the_file_in_clear_is_refused_without_being_shown(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, "[server.api_keys]\na = 'my-very-own-key'")
    assert "very-own" not in str(caught.value)


def test_a_file_that_is_not_toml_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"compare\.toml: is not valid TOML: Expected"):
        loaded(tmp_path, "[limits")
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", {})


def test_a_key_with_characters_that_no_header_may_hold_is_refused_without_being_shown(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match="OPENROUTER_API_KEY has characters") as caught:
        loaded(tmp_path, OPENROUTER, OPENROUTER_API_KEY="sk\u00e9cret\nX: y")
    assert "cret" not in str(caught.value)
