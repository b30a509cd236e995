"""The certificate of the server, and how a renewed one takes its place.

The listeners keep the one `SSLContext` that they were made with. Loading another certificate into
it would not do: one with another kind of key would be added and not replace the old one, and a
mistake would leave half of each. So a new context is made whole, and every handshake is sent to the
newest by the callback that OpenSSL has for this, called with or without a name (SNI). Connections
that are there go on with what they began with.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from hypercorn.config import Config

from service.settings import SettingsError

__all__ = ["Certificate"]


class Certificate:
    """What a server with this configuration shows; it takes the place of the configuration's own.

    Only for one that speaks TLS.
    """

    name = "certificate"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._make = config.create_ssl_context
        self._newest: ssl.SSLContext | None = None
        self._digest = b""
        carrier: Any = vars(config)
        carrier["create_ssl_context"] = self._first

    def reread(self) -> Callable[[], None] | None:
        """What shows the one that is in the files now; None: it is the same as before.

        Raises `SettingsError`. It blocks on the files.
        """
        try:
            digest = self._digest_of_files()
            if digest == self._digest:
                return None
            context = self._make()
        except (OSError, ValueError) as exc:  # of ssl's own errors each is an OSError
            files = " and ".join(dict.fromkeys(map(str, self._files())))
            words = exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)
            raise SettingsError(f"{files}: no certificate with its key: {words}.") from exc
        return partial(self._show, context, digest)

    def _show(self, context: ssl.SSLContext | None, digest: bytes) -> None:
        """Of every handshake that begins from now on."""
        self._newest, self._digest = context, digest

    def _first(self) -> ssl.SSLContext | None:
        """The context of the listeners."""
        self._digest = self._digest_of_files()
        context = self._make()
        if context is not None:
            context.sni_callback = self._choose
        return context

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext
    ) -> None:
        if self._newest is not None:
            connection.context = self._newest

    def _files(self) -> list[str]:
        named = (self._config.certfile, self._config.keyfile, self._config.ca_certs)
        return [name for name in named if name]

    def _digest_of_files(self) -> bytes:
        return sha256(b"\0".join(Path(name).read_bytes() for name in self._files())).digest()
