"""A harness for Trio tests: of this service, and of what talks to it.

- `Script` is a provider that follows a timetable, for tests in virtual time;
- `open_app` and `open_exchange` run the application in memory, one request at a time, without a
  socket: the client's back-pressure and its leaving are the test's to choose;
- `open_server` serves an application on a free loopback port;
- `open_wire` is a provider over real sockets that sends exactly the bytes a test says;
- `observe` asks a running service and notes when each event arrives; `judge` says whether the
  models really ran side by side.
"""

from service.observing import observe
from service.testing.exchange import Exchange, open_app, open_exchange
from service.testing.script import Alive, Connect, Script, Stall, Thought, app_for, roster_of
from service.testing.server import open_server
from service.testing.wire import Close, Pause, Reset, Wire, open_wire
from service.verdict import Arrival, Verdict, describe, judge

__all__ = [
    "Alive",
    "Arrival",
    "Close",
    "Connect",
    "Exchange",
    "Pause",
    "Reset",
    "Script",
    "Stall",
    "Thought",
    "Verdict",
    "Wire",
    "app_for",
    "describe",
    "judge",
    "observe",
    "open_app",
    "open_exchange",
    "open_server",
    "open_wire",
    "roster_of",
]
