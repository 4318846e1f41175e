"""Draw `docs/grafana-dashboard.json` as `docs/dashboard.png`, with what a Prometheus answers to its queries.

It is no Grafana: from the dashboard's file come the panels, their places, titles, units, queries and legends,
from Prometheus the data, and matplotlib draws them. It fails if a query is refused or a panel shows nothing.

    python -m tools.eventful_run      # while a Prometheus asks it once a second
    python -m tools.picture_of_dashboard http://127.0.0.1:9090 130      # the last 130 seconds
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DASHBOARD = Path(__file__).parents[1] / "docs" / "grafana-dashboard.json"
PICTURE = DASHBOARD.with_name("dashboard.png")

_INCH = 0.6
"""How large one unit of Grafana's grid is; it is 24 units wide."""
_STEP = 1.0
_VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "4s"}
"""As Grafana fills them in for all processes, and a Prometheus that scrapes once a second."""

_UNITS: dict[str, Callable[[float], str]] = {
    "short": lambda value: f"{value:,.4g}",
    "reqps": lambda value: f"{value:.4g} req/s",
    "s": lambda value: f"{value:.4g} s",
    "percentunit": lambda value: f"{value:.0%}",
    "bytes": lambda value: f"{value / (1 << 20):.0f} MiB",
}

Series = tuple[str, list[float], list[float]]
"""The name in the legend, seconds since the picture's beginning, and the values."""


def main(prometheus: str, seconds: float) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    start = time.time() - seconds
    panels = {
        panel["id"]: [
            series for target in panel["targets"] for series in _answer(prometheus, target, start, seconds)
        ]
        for panel in dashboard["panels"]
    }
    figure = _drawn(dashboard, panels, seconds)
    figure.savefig(PICTURE, dpi=75)
    print(PICTURE)
    empty = [panel["title"] for panel in dashboard["panels"] if not panels[panel["id"]]]
    if empty:
        sys.exit(f"nothing to show in: {', '.join(empty)}")


def _answer(prometheus: str, target: dict[str, Any], start: float, seconds: float) -> list[Series]:
    """What one query of a panel gives."""
    query = target["expr"]
    for variable, value in _VARIABLES.items():
        query = query.replace(variable, value)
    asked = urllib.parse.urlencode({"query": query, "start": start, "end": start + seconds, "step": _STEP})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{asked}", timeout=10) as answer:  # noqa: S310
        found = json.loads(answer.read())["data"]["result"]
    return [
        (
            _legend(target["legendFormat"], one["metric"]),
            [float(when) - start for when, _ in one["values"]],
            [float(value) for _, value in one["values"]],
        )
        for one in found
    ]


def _legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), form)


def _drawn(dashboard: dict[str, Any], panels: dict[int, list[Series]], seconds: float) -> Figure:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    rows = max(place["y"] + place["h"] for place in places)
    figure = Figure(figsize=(24 * _INCH, rows * _INCH * 0.6))
    for panel, place in zip(dashboard["panels"], places, strict=True):
        left, bottom = (place["x"] + 1.3) / 24, 1 - (place["y"] + place["h"] - 2.2) / rows
        axes = figure.add_axes((left, bottom, (place["w"] - 1.9) / 24, (place["h"] - 3.2) / rows))
        axes.set_xlim(0, seconds)
        _draw(axes, panel, panels[panel["id"]])
    return figure


def _draw(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_title(panel["title"], loc="left", fontsize=11, fontweight="bold")
    if defaults["custom"]["stacking"]["mode"] == "normal":
        _stack(axes, sorted(series))
    else:
        for name, times, values in sorted(series):
            axes.plot(*_with_gaps(times, values), linewidth=1.2, label=name)
    axes.set_ylim(defaults["min"], defaults.get("max"))
    axes.yaxis.set_major_formatter(lambda value, _: _UNITS[defaults["unit"]](value))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if series:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0, -0.12),
            ncols=4,
            fontsize=8,
            frameon=False,
            borderpad=0,
            columnspacing=1,
        )


def _stack(axes: Axes, series: list[Series]) -> None:
    """One on top of the other; where a series has no value it counts as 0."""
    moments = sorted({moment for _, times, _ in series for moment in times})
    found = [dict(zip(times, values, strict=True)) for _, times, values in series]
    axes.stackplot(
        moments,
        [[values.get(moment, 0.0) for moment in moments] for values in found],
        labels=[name for name, _, _ in series],
        alpha=0.7,
    )


def _with_gaps(times: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """The same with no line drawn where Prometheus had no value, as the dashboard's `spanNulls` asks."""
    drawn_times, drawn = [], []
    before = None
    for moment, value in zip(times, values, strict=True):
        if before is not None and moment - before > 1.5 * _STEP:
            drawn_times.append(before)
            drawn.append(float("nan"))
        drawn_times.append(moment)
        drawn.append(value)
        before = moment
    return drawn_times, drawn


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
