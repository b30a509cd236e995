"""A run as a picture: one strip for each figure, all over the same minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.bench.svg import WIDTH, page, text
from tests.soak.report import figure, signed
from tests.soak.result import Result
from tests.soak.sampling import Sample
from tests.soak.series import Judgement
from tests.soak.slopes import binned

__all__ = ["drawn"]

TOP, STRIP, BETWEEN = 50, 64, 40
LEFT, RIGHT = 44, 8
POINTS = 240
"""In each curve; more than one for three pixels can't be seen."""
STRIPS: Sequence[tuple[str, str, Callable[[Sample], float | None]]] = (
    ("memory of its own", "MiB", lambda s: s.own_mib),
    ("descriptors", "", lambda s: s.descriptors),
    ("descriptors without a connection", "", lambda s: s.unconnected),
    ("connections to providers", "", lambda s: s.provider_connections),
    ("tasks", "", lambda s: s.tasks),
    ("answer to /health, middle", "ms", lambda s: s.health_p50_ms),
    ("answer to /health, 99th", "ms", lambda s: s.health_p99_ms),
    ("scheduler's lag, 99th", "ms", lambda s: s.lag_p99_ms),
    ("chunks a second", "", lambda s: s.chunks),
)


def drawn(result: Result) -> str:
    """The picture as SVG; what nobody could see has no strip."""
    samples = [sample for sample in result.samples if sample.phase in ("warm-up", "load")]
    end = max((sample.at for sample in samples), default=1.0)
    judged = {judgement.name: judgement for judgement in result.judgements}
    parts: list[str] = []
    told: list[str] = []
    y = TOP
    for name, unit, of in STRIPS:
        known = [sample for sample in samples if of(sample) is not None]
        if not known:
            continue
        words = _in_words(name, unit, judged.get(name))
        told.append(words)
        parts.append(text(0, y, words))
        parts += _strip(known, of, y + 10, end)
        y += 10 + STRIP + BETWEEN - 10
    for minute in _marks(end / 60):
        x = LEFT + (WIDTH - LEFT - RIGHT) * 60 * minute / end
        parts.append(text(x, y - 8, f"{minute:g}", "quiet", "middle"))
    parts.append(text(WIDTH - RIGHT, y + 10, "minutes; dashed: the warm-up", "quiet", "end"))
    title = (
        f"{result.options.minutes:g} minutes of mixed load and faults, "
        f"{result.rate:g} comparisons a second"
    )
    return page(title, ". ".join(told) + ".", y + 22, parts)


def _strip(
    samples: Sequence[Sample], of: Callable[[Sample], float | None], top: float, end: float
) -> list[str]:
    most = max(of(sample) or 0.0 for sample in samples) or 1.0
    parts = [
        f'<path class="axis" d="M{LEFT} {top:.0f}V{top + STRIP:.0f}H{WIDTH - RIGHT}"/>',
        text(LEFT - 6, top + 10, figure(most), "quiet", "end"),
        text(LEFT - 6, top + STRIP, "0", "quiet", "end"),
    ]
    for phase, kind in (("warm-up", "other"), ("load", "ours")):
        points = [(sample.at, of(sample) or 0.0) for sample in samples if sample.phase == phase]
        if not points:
            continue
        through = " ".join(
            f"{LEFT + (WIDTH - LEFT - RIGHT) * x / end:.1f},{top + STRIP * (1 - up / most):.1f}"
            for x, up in binned(points, POINTS)
        )
        dashes = ' stroke-dasharray="3 3"' if phase == "warm-up" else ""
        parts.append(
            f'<polyline class="{kind} curve" style="stroke-width:1.5"{dashes} points="{through}"/>'
        )
    return parts


def _in_words(name: str, unit: str, judged: Judgement | None) -> str:
    told = f"{name}, {unit}" if unit else name
    if judged is None or judged.slope is None:
        return told
    slope = judged.slope
    return (
        f"{told}: {signed(slope.middle)} an hour "
        f"({signed(slope.low)} to {signed(slope.high)}), {judged.verdict}"
    )


def _marks(minutes: float) -> list[float]:
    """Some round moments on the way."""
    step = next(
        (step for step in (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120) if minutes / step <= 10), 240.0
    )
    return [round(n * step, 1) for n in range(int(minutes / step) + 1)]
