"""What is counted of the work while it is done; `service.metrics` shows it."""

from service.meter.meter import Meter
from service.meter.operations import Operations

__all__ = ["Meter", "Operations"]
