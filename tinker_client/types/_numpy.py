"""numpy, imported by the first call that makes or takes arrays: lists do without."""

from __future__ import annotations

from tinker_sidecar.needs import importing_for

with importing_for("an array", "numpy"):
    import numpy as np

__all__ = ["np"]
