"""What a run is asked for, and all that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.soak.acting import Figures
from tests.soak.findings import Findings
from tests.soak.ledger import Ledger
from tests.soak.sampling import Sample
from tests.soak.series import Judgement
from tests.soak.setup import SHORT_CLOCKS, Clocks

__all__ = ["Options", "Result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is asked for."""

    minutes: float
    """Of load, the warm-up included."""
    seed: int
    rate: float | None = None
    """Comparisons a second; None: it is measured."""
    reload: bool = False
    """Whether the service gets a SIGHUP now and then, with other settings."""
    gap: float = 1.0
    """What a canary may be silent, in seconds, where the service gets the core that it wants."""
    planted: str | None = None
    """Faults of `tests.soak.planted` that are built into the service, parted by commas."""

    @property
    def short(self) -> bool:
        """Whether it shows that everything works, and has no time for slopes or for long rests."""
        return self.minutes < 0.5

    @property
    def clocks(self) -> Clocks:
        """Those of the service."""
        return SHORT_CLOCKS if self.short else Clocks()

    @property
    def warm_up(self) -> float:
        """Seconds: a fifth, and no more than five minutes: caches of a thousand names are full."""
        return 0.0 if self.short else min(300.0, 12 * self.minutes)

    @property
    def ramp(self) -> float:
        """Seconds of load until as many clients are there as there will be; not judged."""
        return 0.0 if self.short else min(15.0, 3 * self.minutes)

    @property
    def every(self) -> float:
        """Seconds between two samples: a night of them is a file of ten megabytes."""
        return max(0.5, min(2.0, self.minutes / 5), self.minutes / 120)


@dataclass(slots=True)
class Result:
    """All that came of a run."""

    options: Options
    findings: Findings
    figures: Figures
    ledger: Ledger
    samples: list[Sample] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    rests: dict[str, Sample] = field(default_factory=dict)
    rate: float = 0.0
    why: str = ""
    """Whence the rate."""
    begun: int = 0
    left_out: int = 0
    reloads: int = 0
    canary_gap: float = 0.0
    canary_tokens: int = 0
    probe_longest_ms: float = 0.0
    load_seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong and nothing grows."""
        return not self.findings.count and all(j.verdict != "grows" for j in self.judgements)
