"""The way to a provider: one HTTP request whose answer is read as it comes.

The only package that imports httpx. What a caller sees is a `Reply`, and `ProviderError` for
whatever goes wrong on the way.
"""

from service.upstream.client import Client, Reply, open_client
from service.upstream.reasons import reason_of

__all__ = ["Client", "Reply", "open_client", "reason_of"]
