"""The plot: for each host, what the server heard of the client and had for it; and where the time went."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from measurements import Run, Session

__all__ = ["plot_timelines"]

BIN = 0.5
"""Seconds."""
RED, BLUE, SAND = "#b3122e", "#3b6ea8", "#f4e0b5"
STAGE_COLORS = {
    "client": "#8c6bb1",
    "limits": "#d9a441",
    "submit": "#9bb7d4",
    "server": BLUE,
    "fetch": "#6fa8a0",
    "delivery": RED,
}


def plot_timelines(seen: dict[str, tuple[Run, Session]], path: Path) -> None:
    """Save a panel for each host, all on one time axis, and one of the stages, as an image at `path`."""
    mpl.use("agg")
    figure = plt.figure(figsize=(10, 8))
    above, below = figure.add_gridspec(2, height_ratios=(3, 1))
    panels = above.subgridspec(len(seen), 1).subplots(sharex=True, sharey=True, squeeze=False)
    for axes, (host, (run, session)) in zip(panels.flat, seen.items(), strict=True):
        _draw(axes, run, session)
        axes.set_title(host, loc="left", fontweight="bold")
        axes.set_ylabel("samples/s")
    panels[-1, 0].set_xlabel("seconds since the session began")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper right", ncols=3, frameon=False)
    _draw_stages(figure.add_subplot(below), {host: run for host, (run, _) in seen.items()})
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw(axes: Axes, run: Run, session: Session) -> None:
    completed, heartbeats, held, silence = (
        np.array(times) - session.created
        for times in (session.completed, session.heartbeats, run.gil_held, session.longest_silence)
    )
    axes.axvspan(*held, color=SAND, label="the grader holds the GIL")
    axes.hist(
        completed,
        bins=np.arange(0, completed[-1] + BIN, BIN).tolist(),
        weights=np.full(len(completed), run.group_size / BIN),
        color=BLUE,
        label="samples/s finished by the server",
    )
    # Room above the bars for a row of heartbeats, placed by the panel's height, not by samples/s.
    axes.margins(y=0.5)
    row = axes.get_xaxis_transform()
    axes.plot(heartbeats, np.full(len(heartbeats), 0.92), "v", color=RED, transform=row, label="heartbeat")
    axes.annotate(
        "", (silence[0], 0.8), (silence[1], 0.8), row, row, arrowprops={"arrowstyle": "<->", "color": RED}
    )
    gap = f"longest gap: {silence[1] - silence[0]:.0f} s"
    axes.text(silence.mean(), 0.81, gap, color=RED, ha="center", va="bottom", transform=row)


def _draw_stages(axes: Axes, runs: dict[str, Run]) -> None:
    """A bar for each host, of all its requests' time."""
    hosts = list(runs)[::-1]
    left = np.zeros(len(hosts))
    for stage, color in STAGE_COLORS.items():
        shares = np.array(
            [100 * runs[host].stages[stage] / sum(runs[host].stages.values()) for host in hosts]
        )
        axes.barh(hosts, shares, left=left, color=color, label=stage)
        left += shares
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the requests' time, by stage")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(STAGE_COLORS), frameon=False)
