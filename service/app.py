"""The application with the environment's settings, for any ASGI server.

hypercorn -c hypercorn.toml service.app:app
"""

from __future__ import annotations

import sys

from service import log
from service.application import create_app
from service.edge import hangups  # Hypercorn's own command needs our corrections, too
from service.log_outlet import Outlet
from service.settings import SettingsError, load

__all__ = ["app"]

hangups.heed()
try:
    _settings = load()
except SettingsError as _exc:
    raise SystemExit(f"compare-stream: {_exc}") from None

log.configure(secrets=_settings.keys.values(), output=Outlet(sys.stderr))
app = create_app(_settings, reread=load)
