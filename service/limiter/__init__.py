"""How many may ask a provider at once, when, and whose turn it is; outside its HTTP client."""

from service.limiter.limiter import Limiter, Limiters, Ticket

__all__ = ["Limiter", "Limiters", "Ticket"]
