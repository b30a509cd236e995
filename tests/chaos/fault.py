"""What a fault is, and the list of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.chaos.scene import Scene, Stage
from tests.chaos.service_under_test import Config
from tests.chaos.upstream import Upstream

__all__ = ["BUDGET_BYTES", "FAULTS", "NOT_RUN", "Fault", "NotRunHere", "fault", "not_run", "staged"]

Attack: TypeAlias = Callable[[Scene], Awaitable[str]]
StagedAttack: TypeAlias = Callable[[Stage], Awaitable[str]]
OpenOthers: TypeAlias = Callable[[Stage], AbstractAsyncContextManager["dict[str, str | Upstream]"]]
BUDGET_BYTES = 64 * 1024 * 1024


class NotRunHere(Exception):
    """This machine lacks what the fault needs; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table."""

    id: str
    """As in docs/reliability.md; a letter behind it tells the cases of one fault apart."""
    name: str
    did: str
    expected: str
    attack: Attack | None = None
    """What happens, to a service with a canary; says what was seen, raises when it is wrong."""
    staged: StagedAttack | None = None
    """The same for a fault that starts its processes itself, and checks what it started."""
    config: Config = field(default_factory=Config)
    short: bool = False
    """It is quick enough for every run of CI."""
    limit: float = 30
    """Seconds after which the harness gives up."""
    ends: bool = False
    """The process is meant to end, with exit code 0."""
    may_end_in: tuple[str, ...] = ()
    """Codes by which the canary's models may be ended."""
    lap: float | None = None
    """Longest comparison of the canary's; none: as long as the fault."""
    gap: float = 1.0
    """Seconds of a canary's silence that are too many."""
    tls: bool = False
    meddling: str | None = None
    """What `tests.chaos.meddled` does to the process."""
    shell: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    others: OpenOthers | None = None
    """Opens providers besides the scripted one."""
    known: str | None = None
    """Why it does harm in this version, though it must not; None: it does none."""
    budget: int = BUDGET_BYTES
    """Bytes by which the service's memory may grow at its peak."""


FAULTS: dict[str, Fault] = {}
NOT_RUN: dict[str, tuple[str, str]] = {}
"""The faults that nobody runs here: name and reason."""


def fault(
    id: str,  # noqa: A002  # it is what everybody calls it
    name: str,
    *,
    did: str,
    expected: str,
    **options: Any,
) -> Callable[[Attack], Attack]:
    """Register a fault that happens to a running service."""

    def register(attack: Attack) -> Attack:
        _add(Fault(id=id, name=name, did=did, expected=expected, attack=attack, **options))
        return attack

    return register


def staged(
    id: str,  # noqa: A002
    name: str,
    *,
    did: str,
    expected: str,
    **options: Any,
) -> Callable[[StagedAttack], StagedAttack]:
    """Register a fault that starts its processes itself."""

    def register(attack: StagedAttack) -> StagedAttack:
        _add(Fault(id=id, name=name, did=did, expected=expected, staged=attack, **options))
        return attack

    return register


def not_run(id: str, name: str, *, reason: str) -> None:  # noqa: A002
    """Register a fault that is not run, and why."""
    assert id not in FAULTS, id
    assert id not in NOT_RUN, id
    NOT_RUN[id] = (name, reason)


def _add(new: Fault) -> None:
    assert new.id not in FAULTS, new.id
    assert new.id not in NOT_RUN, new.id
    FAULTS[new.id] = new
