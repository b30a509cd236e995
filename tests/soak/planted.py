"""The service with faults that a soak has to find: `python -m tests.soak.planted FAULT serve ...`.

An instrument that never says no proves nothing. Each of these is what a slip in the service would
do; everything else is the command as it is. `trace` is no fault: it says what memory went to.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import trio

import service.answer
import service.comparison
from service.cli import main

__all__ = ["PLANTED", "TRACED"]

TRACED = "memory has grown"

PAGE = 4096
DOUBLED_EVERY = 40
FORGOTTEN: list[object] = []
"""What a comparison leaves behind."""


def after_each_comparison(do: Callable[[], object]) -> None:
    """Do something when a comparison has ended."""
    comparison: Any = service.comparison.Comparison
    original = comparison._log_end

    def meddled(*arguments: Any) -> None:
        original(*arguments)
        do()

    comparison._log_end = meddled


def lose_a_descriptor() -> None:
    after_each_comparison(lambda: FORGOTTEN.append(os.dup(2)))


def lose_memory() -> None:
    after_each_comparison(lambda: FORGOTTEN.append(os.urandom(256 * PAGE)))


def lose_a_task() -> None:
    async def forgotten(kept: bytes) -> None:
        await trio.sleep_forever()

    after_each_comparison(lambda: trio.lowlevel.spawn_system_task(forgotten, os.urandom(PAGE)))


def lose_a_line_of_the_log() -> None:
    comparison: Any = service.comparison.Comparison
    original, ended = comparison._log_end, [0]

    def meddled(*arguments: Any) -> None:
        ended[0] += 1
        if ended[0] % 10:
            original(*arguments)

    comparison._log_end = meddled


def double_a_chunk() -> None:
    """Now and then a write has its last chunk twice."""
    answer = vars(service.answer)
    original, written = answer["encode_alike"], [0]

    def meddled(head: bytes, texts: Any) -> Any:
        written[0] += 1
        return original(head, texts if written[0] % DOUBLED_EVERY else [*texts, texts[-1]])

    answer["encode_alike"] = meddled


def trace_memory() -> None:
    """From the first SIGUSR1 on: at each a line of the log for what has grown since the last."""
    before: list[tracemalloc.Snapshot] = []

    def compare(*_: object) -> None:
        if not tracemalloc.is_tracing():
            tracemalloc.start(12)
        gc.collect()
        ours = tracemalloc.Filter(False, tracemalloc.__file__)
        now = tracemalloc.take_snapshot().filter_traces([ours])
        for grown in now.compare_to(before.pop(), "traceback")[:20] if before else ():
            where = " < ".join(str(frame) for frame in reversed(list(grown.traceback)))
            told = {"event": TRACED, "bytes": grown.size_diff, "blocks": grown.count_diff}
            print(
                json.dumps({**told, "level": "info", "where": where}), file=sys.stderr, flush=True
            )
        before.append(now)

    signal.signal(signal.SIGUSR1, compare)


PLANTED = {
    "trace": trace_memory,
    "descriptor": lose_a_descriptor,
    "memory": lose_memory,
    "task": lose_a_task,
    "line": lose_a_line_of_the_log,
    "chunk": double_a_chunk,
}

if __name__ == "__main__":
    for name in sys.argv.pop(1).split(","):
        PLANTED[name]()
    main()
