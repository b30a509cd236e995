"""What is counted, shown to Prometheus: names, values, the processes of one address, the route."""

from service.metrics.lag import measure_lag
from service.metrics.route import make_metrics
from service.metrics.shown import Metrics

__all__ = ["Metrics", "make_metrics", "measure_lag"]
