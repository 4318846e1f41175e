"""What a `Retry-After` header means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tinker_sidecar.engine.retry_after import LONGEST, seconds_to_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("0", 0),
        ("7", 7),
        (" 2.5 ", 2.5),
        ("1e9", LONGEST),
        ("-1", None),
        ("inf", None),
        ("x", None),
    ],
)
def test_seconds(header: str, seconds: float | None) -> None:
    assert seconds_to_wait(header, "here") == seconds


def test_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    said = seconds_to_wait(format_datetime(soon, usegmt=True), "here")
    assert said is not None
    assert 90 < said <= 100
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT", "here") == 0
    assert seconds_to_wait("Wed, 21 Oct 9999 07:28:00 GMT", "here") == LONGEST
