"""Many models' events in one channel: in order, fairly, and no more of them than is bounded.

A memory channel by itself lets whoever writes fastest fill it. Here each model has one place in it:
what it puts there must have been taken before it may put more. So the channel holds at most one
batch of each model, first come, first served, and that is taking turns: behind a model that floods
another waits for one batch of it, never for two.

    model a  ── Outbox.put ──┐
    model b  ── Outbox.put ──┼──►  memory channel, a place each  ──►  Inbox.batch  ──►  the reader
    model c  ── Outbox.put ──┘                                            │
       ▲                                                                  │
       └──────────────────── Outbox.taken  ◄──────────────────────────────┘

How much a model may take from its provider at once is bounded in bytes (`Outbox.room`): all of
them together have `HELD_BYTES`, of which half is shared out, and half goes to whoever comes first.
A reader that keeps up leaves most of it free in a moment, so models that find less wait for their
turn (`Outbox.turn`), and every read is a large one. Behind a reader that does not keep up nobody
waits for that; reads are small, and all models come forward alike.
"""

from __future__ import annotations

import trio

from service.fanin.inbox import Inbox
from service.fanin.outbox import Batch, Outbox
from service.fanin.ranked import Priority, RankedInbox
from service.fanin.room import HELD_BYTES, READ_BYTES, Held

__all__ = [
    "HELD_BYTES",
    "READ_BYTES",
    "Batch",
    "Inbox",
    "Outbox",
    "Priority",
    "open_fan_in",
]


def open_fan_in(models: int, priority: Priority = "fair") -> tuple[Outbox, Inbox]:
    """A channel for so many models: one end to clone for each of them, and the reader's end.

    With the priority `asked` the ends that are cloned first go first; with `fastest` those that
    are written to first.
    """
    # One place for each model, and one for whoever says what is said about all of them.
    outbox, inbox = trio.open_memory_channel[tuple[Outbox, Batch]](models + 1)
    held = Held(models)
    reader = Inbox(inbox, held) if priority == "fair" else RankedInbox(inbox, held, priority)
    return Outbox(outbox, held), reader
