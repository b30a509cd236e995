"""The server in front of the application: Hypercorn on Trio.

Importing this puts our connection in the place of Hypercorn's, for whichever command serves.
"""

from service.edge import connection
from service.edge.serving import Binding, serve, serve_until_signalled

connection.install()

__all__ = ["Binding", "serve", "serve_until_signalled"]
