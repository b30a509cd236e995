"""The faults that are not run, and why: a list is only honest when it is whole."""

from __future__ import annotations

from tests.chaos.fault import not_run

not_run(
    "C-12",
    "slow network, 64 kbit/s, 500 ms, 5 % loss",
    reason="needs the kernel's netem, which containers have not as a rule. C-09 to C-11 "
    "are a reader that is slow, C-08 is a loss of every packet",
)
not_run(
    "P-14",
    "the wall clock jumps by an hour",
    reason="needs libfaketime, or the right to set the machine's clock. Every deadline is by "
    "Trio's clock, which is the monotonic one (docs/timeouts.md)",
)
not_run(
    "R-03",
    "a provider's limiter is full",
    reason="there is no limit on the requests to one provider in this version",
)
not_run(
    "R-04",
    "memory is capped",
    reason="nothing is shed by memory in this version: `max_comparisons` and "
    "`connections_per_address` bound what can be asked of it, and I4 holds every fault to a budget",
)
not_run(
    "R-10",
    "8 hours at 60 % load with all faults at random",
    reason="takes a machine of its own for a working day. U-23, C-17 and R-09 repeat what a leak "
    "would add up to, and every fault is held to the base line",
)
