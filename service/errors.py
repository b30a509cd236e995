"""The one error that a provider's answer can end in, named by its fault."""

from __future__ import annotations

from typing import Any

from service.events import ErrorCode, Usage

__all__ = ["ProviderError"]


class ProviderError(Exception):
    """A provider did not give a whole answer.

    The message is for people: one sentence without keys or addresses. What arrived before stays.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        usage: Usage | None = None,
        cost_usd: float | None = None,
        finish_reason: str | None = None,
        of_model: bool = False,
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.retryable = retryable
        """The provider, or the kind of fault, says that the same request may work later."""
        self.retry_after = retry_after
        """Seconds that the provider asked us to wait; None when it did not say."""

        self.usage = usage
        """What the provider had reported by then."""
        self.cost_usd = cost_usd
        self.finish_reason = finish_reason
        """The provider's own word for why it stopped, where it gave one."""
        self.of_model = of_model
        """It says nothing about the provider's other models: somebody behind it is full."""

    def facts(self) -> dict[str, Any]:
        """What a log line says of it besides the code."""
        return {
            "error": str(self),
            "retryable": self.retryable,
            "retry_after": self.retry_after,
        }
