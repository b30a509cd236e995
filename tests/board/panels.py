"""The board: its rows, from what people notice first to what explains it."""

from __future__ import annotations

import json

from tests.board.answers import ANSWERED, ASKED, AT_A_GLANCE
from tests.board.grafana import dashboard
from tests.board.providers import PROVIDERS
from tests.board.queries import EVERY, VARIABLES
from tests.board.work import COST, EDGE, PROCESS, STREAM

__all__ = ["written"]


def written() -> str:
    """The file that Grafana imports."""
    board = dashboard(
        uid="compare-stream",
        title="compare-stream",
        description="What the service does now, who answers how, and what it takes. Each panel "
        "says what it means and what to do; dashed lines are where alerts fire.",
        variables=VARIABLES,
        annotations={
            "A process began": f"changes(process_start_time_seconds{{{EVERY}}}[1m]) > 0",
        },
        rows=[AT_A_GLANCE, ANSWERED, ASKED, PROVIDERS, STREAM, EDGE, PROCESS, COST],
    )
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"
