"""The faults, by who is at fault. Importing this registers all of them."""

from tests.chaos.rows import (
    client,
    elsewhere,
    exhaustion,
    floods,
    hostile,
    process,
    twelve,
    upstream,
)

__all__ = [
    "client",
    "elsewhere",
    "exhaustion",
    "floods",
    "hostile",
    "process",
    "twelve",
    "upstream",
]
