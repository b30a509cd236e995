"""M: what a user waits for three, six and nine models, by the way in which they are asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.bench.bench import Bench, Figure, Goal
from tests.bench.load import Load, Pace
from tests.bench.measuring import Measured
from tests.bench.processes import Process
from tests.bench.servers import Server

__all__ = ["DESIGNS", "MODELS", "waiting"]

MODELS = (3, 6, 9)
DESIGNS = (Server.SEQUENTIAL, Server.POOL, Server.SERVICE)
TWO_SECONDS = Pace(chunks=100, gap_ms=20)
TEN_USERS = Load(comparisons=10, pace=Pace(chunks=50, gap_ms=20))


def waiting(bench: Bench) -> None:
    """One question with each number of models; then ten users with nine models each.

    The designs are asked at the same time, since they mostly wait: one question is some per cent of
    a processor. What is measured here is the clock on the wall.
    """
    with bench.serving(*DESIGNS) as running:

        def ask(server: Server, process: Process) -> list[Measured]:
            loads = [Load(comparisons=1, models=models, pace=TWO_SECONDS) for models in MODELS]
            return [bench.run("M", server, process, load) for load in loads]

        with ThreadPoolExecutor() as clients:
            asked = {one: clients.submit(ask, one, process) for one, process in running.items()}
        for server, rows in asked.items():
            for models, row in zip(MODELS, rows.result(), strict=True):
                name = f"one question, {models} models, {server}"
                bench.say(Figure(workload="M", name=name, value=row.wall_p50_s, unit="s"))
        users: dict[Server, float] = {}
        for server in (Server.POOL, Server.SERVICE):
            if server in running:
                row = bench.run("M", server, running[server], TEN_USERS)
                users[server] = row.wall_most_s
                name = f"ten users x 9 models, the last of them, {server}"
                bench.say(Figure(workload="M", name=name, value=row.wall_most_s, unit="s"))
        if len(users) == 2:
            bench.say(
                Figure(
                    workload="M",
                    name=f"ten users x 9 models, {Server.POOL} / {Server.SERVICE}",
                    value=users[Server.POOL] / users[Server.SERVICE],
                    goal=Goal(at_least=10),
                )
            )
