"""The server in front of the application: Hypercorn on Trio."""

from service.edge.serving import Binding, serve, serve_until_signalled

__all__ = ["Binding", "serve", "serve_until_signalled"]
