"""A running service under mixed load for as long as one likes: `python -m tests.soak`.

A seed decides everything that is asked and everything that the provider does, so that each answer
can be held against what was really said. `deeds` is what a provider may do, `plans` what a client
may; `acting` plays the clients, `provider` is the other process; `truth` and `ledger` judge;
`sampling` looks at the process, and `slopes` says whether anything grows. README.md of this folder
says how to run a night.
"""
