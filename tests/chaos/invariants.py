"""What holds after every fault, within two seconds, whatever the fault was.

I1  The process is alive, and the same one (or it has ended with 0, where it was told to).
I2  The canary has lost nothing, nothing twice, nothing out of order, and no long silence.
I3  No request of ours is open at the provider; descriptors and sockets are back at the base line.
I4  Memory has stayed below base + budget, at its peak.
I5  Every accepted comparison has ended exactly once in the log, and each of its models once.
I6  The log has no line of level error and no traceback that the fault does not expect.

Tasks can't be counted from outside; the suite counts them for every test that runs in process.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.canary import Report
from tests.chaos.scene import Scene
from tests.chaos.service_under_test import Service
from tests.chaos.waiting import comes

__all__ = ["GAP_SECONDS", "SETTLE_SECONDS", "BaseLine", "violations"]

SETTLE_SECONDS = 2.0
GAP_SECONDS = 0.25
"""What a canary may be silent on a machine that does nothing else; the table tells the figure."""
WORDS_OF_THE_COMMAND = "compare-stream: "


@dataclass(frozen=True, slots=True)
class BaseLine:
    """A service that has just begun to serve."""

    descriptors: int
    sockets: int
    resident: int

    @classmethod
    def of(cls, scene: Scene) -> BaseLine:
        """Measure it now."""
        # A provider's connection that waits for its next request is no leak: it expires after 4 s.
        idle, service = scene.idle, scene.service
        return cls(service.descriptors() - idle, sockets_of(service) - idle, service.resident())


def sockets_of(service: Service) -> int:
    """The sockets among its descriptors."""
    count = 0
    folder = f"/proc/{service.pid}/fd"
    for name in os.listdir(folder):
        try:
            count += os.readlink(f"{folder}/{name}").startswith("socket:")
        except FileNotFoundError:
            continue  # closed while we looked
    return count


async def violations(
    scene: Scene, base: BaseLine, canary: Report, *, gap: float, budget: int
) -> list[str]:
    """What does not hold; waits for what may take a moment."""
    found: list[str] = []
    accepted = {**scene.accepted, **canary.accepted}
    await comes(lambda: not _unsettled(scene, base, accepted), within=SETTLE_SECONDS)
    found += _unsettled(scene, base, accepted)
    found += _of_memory(scene.service, base, budget)
    found += [f"I2 {what}" for what in canary.wrong]
    if canary.gap > gap:
        found.append(f"I2 a canary was silent for {canary.gap:.2f} s")
    found += of_the_log(scene.service, accepted, scene.expected_events)
    return found


def _unsettled(scene: Scene, base: BaseLine, accepted: Mapping[str, Sequence[str]]) -> list[str]:
    """What of I1, I3 and I5 does not hold yet."""
    found = []
    if scene.upstream.in_use:
        found.append(f"I3 {scene.upstream.in_use} requests are still open at the provider")
    if not scene.service.alive:
        return found
    idle = scene.idle
    descriptors = scene.service.descriptors() - base.descriptors - idle
    if descriptors > 0:
        found.append(f"I3 {descriptors} descriptors more than before")
    sockets = sockets_of(scene.service) - base.sockets - idle
    if sockets > 0:
        found.append(f"I3 {sockets} sockets more than before")
    return found + _not_ended(scene, accepted)


def _not_ended(scene: Scene, accepted: Mapping[str, Sequence[str]]) -> list[str]:
    """Comparisons without their last line: it may still be on its way through the pipe."""
    ended = {line.get("comparison") for line in scene.service.lines("comparison ended")}
    begun = {line.get("comparison") for line in scene.service.lines("model ended")}
    missing = (accepted.keys() | begun) - ended
    return [f"I5 {len(missing)} accepted comparisons have not ended"] if missing else []


def _of_memory(service: Service, base: BaseLine, budget: int) -> list[str]:
    if not service.alive:
        return []
    grown = service.resident_peak() - base.resident
    if grown > budget:
        return [f"I4 memory grew by {grown >> 20} MiB"]
    return []


def of_the_log(
    service: Service, accepted: Mapping[str, Sequence[str]], expected_events: set[str]
) -> list[str]:
    """I5 and I6."""
    found = []
    whole: Counter[str] = Counter()
    models: dict[str, Counter[str]] = {}
    numbers: dict[str, tuple[int, str]] = {}
    for line in service.log:
        comparison = str(line.get("comparison"))
        if line["event"] == "comparison ended":
            whole[comparison] += 1
            numbers[comparison] = (line["models"], line["outcome"])
        elif line["event"] == "model ended":
            models.setdefault(comparison, Counter())[line["model"]] += 1
            if line["outcome"] != "finished" and not line["code"]:
                found.append(f"I5 {line['model']} ended without a cause")
        elif line["level"] == "error" and line["event"] not in expected_events:
            found.append(f"I6 the log says {line['event']!r}: {_last_line(line)}")
    for comparison in accepted.keys() | whole.keys() | models.keys():
        if whole[comparison] != 1:
            found.append(f"I5 a comparison ended {whole[comparison]} times in the log")
            continue
        ended = models.get(comparison, Counter())
        number, outcome = numbers[comparison]
        twice = [model for model, times in ended.items() if times != 1]
        # Left before anybody was asked, it has no model that could end.
        nobody_asked = outcome == "client_gone" and not ended
        if twice or (len(ended) != number and not nobody_asked):
            found.append(f"I5 of {number} models {len(ended)} ended once, {twice} more often")
    stray = [line for line in service.stray if not line.startswith(WORDS_OF_THE_COMMAND)]
    if stray and "stray" not in expected_events:
        found.append(f"I6 standard error says {stray[-1][:200]!r}")
    return sorted(Counter(found))


def _last_line(line: Mapping[str, object]) -> str:
    return str(line.get("exception", "")).strip().rpartition("\n")[2][:200]
