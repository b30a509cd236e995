"""Panels as Grafana has them in a dashboard's JSON, and where each stands.

The model is the classic one, of schema version 38 (Grafana 10.0), which later versions read and
bring up to date by themselves. The source of data is a variable, not an input (`__inputs`): so the
same file can be imported by hand and provisioned from a folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Colour", "Limits", "Panel", "Query", "Row", "Variable", "dashboard"]

WIDTH = 24
"""Columns of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
Colour: TypeAlias = Literal["green", "yellow", "red"]
Limits: TypeAlias = Sequence[tuple[float, Colour]]
"""From which value on a figure has that colour; below the first it is green."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and what its lines are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel; its description says what it means and what to do."""

    title: str
    means: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "heatmap"] = "timeseries"
    width: int = 8
    height: int = 8
    limits: Limits = ()
    stacked: bool = False
    logarithmic: bool = False
    most: float | None = None
    """Where the axis ends; None: at the largest value."""
    named: bool = False
    """A figure that says whose it is, even if it is the only one."""
    nothing: str | None = None
    """What is shown where there is no data; None: Grafana's own words."""


@dataclass(frozen=True, slots=True)
class Row:
    """A heading with its panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the board: the values that a label has."""

    name: str
    label: str
    query: str
    whole: str | None = None
    """What stands for all of them; None: each by its name."""


def dashboard(
    *,
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Variable],
    annotations: Mapping[str, str],
    rows: Sequence[Row],
) -> dict[str, Any]:
    """The whole board. `annotations`: expressions whose values mark a moment in all panels."""
    return {
        "uid": uid,
        "id": None,
        "title": title,
        "description": description,
        "tags": ["compare-stream"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # the moment under the pointer is marked in every panel
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m", "15m"]},
        "links": [],
        "templating": {"list": [_source(), *map(_variable, variables)]},
        "annotations": {"list": [_annotation(*each) for each in annotations.items()]},
        "panels": list(_placed(rows)),
    }


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "definition": variable.query,
        "query": {
            "qryType": 1,  # label values
            "query": variable.query,
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
        },
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "allValue": variable.whole,
        "includeAll": True,
        "multi": True,
        "hide": 0,
        "options": [],
        "refresh": 2,  # when the time range changes: a model may be asked for the first time
        "regex": "",
        "sort": 1,
        "skipUrlSync": False,
    }


def _annotation(name: str, expr: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": expr,
        "step": "60s",
        "titleFormat": name,
        "textFormat": "{{instance}}",
    }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Every panel with its number and place: from left to right, below when a line is full."""
    number, y = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def _panel(panel: Panel) -> dict[str, Any]:
    draw = {"timeseries": _timeseries, "stat": _stat, "heatmap": _heatmap}[panel.kind]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.means,
        "datasource": SOURCE,
        "targets": [_target(panel, n, query) for n, query in enumerate(panel.queries)],
        **draw(panel),
    }


def _target(panel: Panel, number: int, query: Query) -> dict[str, Any]:
    return {
        "refId": "ABCDEFGH"[number],
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "format": "heatmap" if panel.kind == "heatmap" else "time_series",
        "instant": False,
        "range": True,
    }


def _defaults(panel: Panel, **more: Any) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in panel.limits]
    found = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [],
        **more,
    }
    if panel.most is not None:
        found["max"] = panel.most
    if panel.nothing is not None:
        found["noValue"] = panel.nothing
    return found


def _timeseries(panel: Panel) -> dict[str, Any]:
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 5,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "scaleDistribution": {"type": "log", "log": 10}
        if panel.logarithmic
        else {"type": "linear"},
        "thresholdsStyle": {"mode": "dashed" if panel.limits else "off"},
    }
    defaults = _defaults(panel, color={"mode": "palette-classic"}, custom=custom)
    if panel.logarithmic:
        del defaults["min"]  # a logarithmic axis has no 0
    return {
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {
                "showLegend": True,
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _stat(panel: Panel) -> dict[str, Any]:
    return {
        "fieldConfig": {
            "defaults": _defaults(panel, color={"mode": "thresholds"}),
            "overrides": [],
        },
        "options": {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "value_and_name" if panel.named else "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def _heatmap(panel: Panel) -> dict[str, Any]:
    return {
        "fieldConfig": {
            "defaults": {"custom": {"scaleDistribution": {"type": "linear"}}},
            "overrides": [],
        },
        "options": {
            "calculate": False,  # Prometheus' buckets are the rows
            "rowsFrame": {"layout": "auto", "value": "chunks"},
            "yAxis": {"unit": panel.unit, "axisPlacement": "left", "reverse": False},
            "cellValues": {"unit": "short"},
            "cellGap": 1,
            "filterValues": {"le": 1e-9},
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "scale": "exponential",
                "exponent": 0.5,
                "fill": "dark-orange",
                "reverse": False,
                "steps": 64,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "legend": {"show": True},
            "showValue": "never",
            "tooltip": {"show": True, "yHistogram": True},
        },
    }
