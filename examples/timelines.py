"""The plot: for each host, when the server heard of the client and when it had results for it."""

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


def plot_timelines(seen: dict[str, tuple[Run, Session]], path: Path) -> None:
    """Save a panel for each host, all on one time axis, as an image at `path`."""
    mpl.use("agg")
    figure, panels = plt.subplots(len(seen), sharex=True, sharey=True, squeeze=False, figsize=(10, 6))
    for axes, (host, (run, session)) in zip(panels.flat, seen.items(), strict=True):
        _draw(axes, run, session)
        axes.set_title(host, loc="left", fontweight="bold")
        axes.set_ylabel("samples/s")
    panels[-1, 0].set_xlabel("seconds since the session began")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper right", ncols=3, frameon=False)
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
