"""The header `Retry-After`: how long a server wants to be left alone (RFC 9110, 10.2.3)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from tinker_sidecar.logs import engine_logger

__all__ = ["LONGEST", "seconds_to_wait"]

logger = engine_logger(__name__)

LONGEST = 300.0
"""Seconds: a server that asks for more is asked again after that, which does it no harm."""


def seconds_to_wait(header: str, place: str) -> float | None:
    """What the `header` of an answer from `place` says; None if that is nothing, or makes no sense."""
    if not header:
        return None
    seconds = _seconds(header.strip())
    if seconds is None:
        _warn_once("the Retry-After of %s makes no sense, and counts for nothing: %.100r", place, header)
    elif seconds > LONGEST:
        _warn_once(f"the Retry-After of %s is %s: waiting {LONGEST:.0f} s", place, header)
        return LONGEST
    return seconds


@lru_cache(maxsize=64)
def _warn_once(message: str, place: str, header: str) -> None:
    logger.warning(message, place, header)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text)
    return seconds if 0 <= seconds < math.inf else None


def _seconds_until(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
