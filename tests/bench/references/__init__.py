"""Other ways to serve the same request, each a process of its own: what our figures stand beside.

All of them ask the same provider, and say what the first version of the contract says: `start`,
`chunk`, `done`, `complete`, each `start` before any `chunk`. None has what the service has around
that: no clocks, no heartbeat, no limits, no usage, no log. What the service does more, it is
measured with.
"""
