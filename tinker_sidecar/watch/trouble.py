"""From when on results that wait for the program are trouble."""

from __future__ import annotations

__all__ = ["LATELY", "LONG"]

LONG = 1.0
"""Seconds of waiting, at once or in sum within the last `LATELY` seconds."""
LATELY = 5.0
