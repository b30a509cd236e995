"""Why a provider could not be reached, in words that say what to do about it.

The callers of models are told less (`faults`): an address is the operator's business.
"""

from __future__ import annotations

import errno
import socket
import ssl

from service.errors import ProviderError
from service.upstream.faults import causes_of

__all__ = ["reason_of"]

BY_NUMBER = {
    errno.ECONNREFUSED: "nobody listens there; is it running, and is the port right?",
    errno.ENETUNREACH: "there is no way to its network; is this machine online?",
    errno.EHOSTUNREACH: "there is no way to its host; is this machine online?",
    errno.ECONNRESET: "it tore the connection down; is the address the right one?",
}


def reason_of(error: ProviderError) -> str | None:
    """What lies behind a fault on the way to a provider; None when nothing more is known."""
    causes = list(causes_of(error.__cause__))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message.rstrip('.')}"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake failed; does it speak TLS, and should it be http://?"
        if isinstance(cause, (socket.gaierror, UnicodeError)):
            return "its name does not resolve; is it spelt right, and is this machine online?"
    for cause in causes:
        words = BY_NUMBER.get(cause.errno or 0) if isinstance(cause, OSError) else None
        if words:
            return words
    return None
