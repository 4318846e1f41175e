"""How the plots look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from harness.peers import OURS_SIDECAR, Peer

__all__ = ["bars_across", "figure", "line", "logarithmic"]

_STYLE: Any = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "figure.dpi": 150,
}


@contextmanager
def figure(path: Path, title: str, panels: int = 1, **options: Any) -> Iterator[list[Axes]]:
    """Panels side by side under one message, saved at `path`."""
    mpl.use("agg")
    with mpl.rc_context(_STYLE):
        drawing, axes = plt.subplots(
            1, panels, squeeze=False, figsize=(11, 5.6), layout="constrained", **options
        )
        yield list(axes.flat)
        drawing.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
        drawing.savefig(path)
        plt.close(drawing)


def line(axes: Axes, peer: Peer, xs: list[Any], ys: list[float | None], **options: Any) -> None:
    """A peer's figures over `xs`; ours stands out."""
    ours = peer is OURS_SIDECAR
    kept = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
    style = {"marker": "o", "color": peer.colour, "label": peer.name, "linewidth": 3 if ours else 1.8}
    axes.plot([x for x, _ in kept], [y for _, y in kept], **style | {"zorder": 3 if ours else 2} | options)


def logarithmic(axes: Axes, x: bool = False, y: bool = False) -> None:
    """Logarithmic axes with numbers people read: 10,000, not 10⁴."""
    if x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
    if y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")


def bars_across(axes: Axes, values: dict[Peer, float], form: str, **options: Any) -> None:
    """A bar for each peer with its value written at its end, `form` as in `format`."""
    names = [peer.name for peer in values]
    bars = axes.barh(names, list(values.values()), color=[peer.colour for peer in values], **options)
    axes.bar_label(bars, [form.format(value) for value in values.values()], padding=4)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.18)
