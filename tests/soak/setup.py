"""The settings of the service under test, and who its providers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.soak.deeds import DEAF, NOBODY

__all__ = [
    "CALM",
    "MOODY",
    "NARROW",
    "PRICED",
    "PRICED_MODELS",
    "SHORT_CLOCKS",
    "Clocks",
    "settings",
]

CALM = ("openai", "anthropic", "gemini", "ollama")
"""One for each dialect, with room for everybody: no refusal of theirs makes others wait."""
MOODY = tuple(f"moody-{name}" for name in CALM)
"""Those that refuse: 429, 503, 529."""
NARROW, PRICED = "narrow", "priced"
PRICED_MODELS = ("whole", "torn", "late", "endless", "cut")


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds. Short, so that each runs out often; long beside what a busy machine holds up."""

    connect: float = 3
    first_token: float = 8
    idle: float = 4
    total: float = 60
    heartbeat: float = 0.5
    write_timeout: float = 3

    @property
    def longest(self) -> float:
        """What any client may take: every model has ended by its clocks before."""
        return self.total + 20

    @property
    def cut(self) -> float:
        """Within which a client that does not read is cut."""
        return self.write_timeout + 3


SHORT_CLOCKS = Clocks(connect=2, first_token=4, idle=3, total=40, write_timeout=2)
"""For a run of seconds, which ends when the last of its clients does."""


def settings(
    clocks: Clocks, port: int, deaf: int, nobody: int, canary: str, *, places: int = 1024
) -> str:
    """The settings file; `places` are those of the calm providers."""
    tables = [
        'default_provider = "openai"',
        # So many that the load never meets the limit: what is refused for it can't be judged.
        "[limits]\nmax_comparisons = 2048",
        f"[deadlines]\nconnect = {clocks.connect}\nfirst_token = {clocks.first_token}\n"
        f"idle = {clocks.idle}\ntotal = {clocks.total}",
        "[retries]\nattempts = 3\nbackoff = 0.1\nmost_backoff = 0.5\nlongest_wait = 3",
        f"[stream]\nheartbeat = {clocks.heartbeat}\nwrite_timeout = {clocks.write_timeout}",
        # Often, so that the lists are fetched, and not found, while everything else goes on.
        "[catalogue]\nrefresh = 20",
        "[server]\ndrain = 3\nconnections_per_address = 8192",
        _provider("canary", "openai", canary, 64),
        _provider(DEAF, "openai", f"http://127.0.0.1:{deaf}/v1", 64),
        _provider(NOBODY, "openai", f"http://127.0.0.1:{nobody}/v1", 64),
    ]
    dialects: Mapping[str, tuple[str, int]] = {
        **{name: (name, places) for name in CALM},
        **{name: (name.removeprefix("moody-"), 9) for name in MOODY},
        NARROW: ("openai", 3),
        PRICED: ("openai", 64),
    }
    for name, (dialect, most) in dialects.items():
        more = 'flavour = "openrouter"' if name == PRICED else ""
        tables.append(_provider(name, dialect, f"http://127.0.0.1:{port}/{name}", most, more))
    return "\n\n".join(tables) + "\n"


def _provider(name: str, dialect: str, address: str, most: int, more: str = "") -> str:
    return (
        f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "{address}"\n'
        f"max_concurrency = {most}\n{more}"
    )
