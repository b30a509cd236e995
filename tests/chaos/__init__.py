"""Every named fault against a running service: `python -m tests.chaos`.

A fault is one function in `rows/`. For each of them a service is started as a process of its own,
with providers that `upstream` scripts byte by byte; while the fault goes on, `canary` listens to
healthy comparisons from a third process; and after it `invariants` says what has to be as before.
docs/reliability.md has the table.
"""
