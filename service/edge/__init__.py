"""The server in front of the application: Hypercorn on Trio, corrected.

Importing this puts the corrections in place, for whichever command serves. In the order of a
connection's life:

    serving       our own command: where to listen, signals
    worker        one server from its first connection to its last: the drain
    certificate   what it shows, and how a renewed one takes its place
    sighup        SIGHUP: from as early as the process can
    kernel        what the kernel is told of its connections
    gate          what it knows of its connections: bounds, numbers
    connection    one connection: containment, write time-out, idle time-out
    http1, http2  the two protocols
    buffers       what HTTP/2 holds
    calls         how the application is called
    corrections   what stands where in Hypercorn
"""

from service.edge.corrections import install
from service.edge.serving import Binding, serve, serve_until_signalled
from service.edge.sighup import hangups
from service.edge.worker import Told

install()

__all__ = ["Binding", "Told", "hangups", "serve", "serve_until_signalled"]
