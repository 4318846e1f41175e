"""What happened is added up over all pages of the ledger, however long nothing happened in between."""

from __future__ import annotations

import pytest

from tinker_sidecar.engine.ledger import Ledger


@pytest.mark.parametrize("pause", [0.5, 5.0, 59.0, 61.0, 75.0, 3600.0, 1e6])
def test_a_pause_loses_nothing(pause: float) -> None:
    ledger = Ledger(1.0)
    for _ in range(3):
        ledger.page.submitted += 1
        ledger.count("cancelled")
        ledger.turn(ledger.turns_at + pause)
    ledger.page.submitted += 1
    total = ledger.since_start()
    assert (total.submitted, total.cancelled) == (4, 3)


def test_only_the_last_minute_counts_as_that() -> None:
    ledger = Ledger(1.0)
    ledger.page.submitted += 1
    ledger.turn(ledger.turns_at + 61.0)
    ledger.page.submitted += 1
    assert ledger.last(60.0).submitted == 1
    assert ledger.since_start().submitted == 2
