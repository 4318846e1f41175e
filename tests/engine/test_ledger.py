"""What happened is added up over all pages of the ledger, however long nothing happened in between."""

from __future__ import annotations

import pytest

from tinker_sidecar.engine.ledger import Ledger


@pytest.mark.parametrize("pause", [0.5, 5.0, 59.0, 61.0, 75.0, 3600.0, 1e6])
def test_a_pause_loses_nothing(pause: float) -> None:
    ledger = Ledger(1.0)
    for _ in range(3):
        ledger.page.submitted += 1
        ledger.page.cancelled += 1
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


@pytest.mark.parametrize("a_page", [1, 10, 1500])
def test_what_requests_took_and_had_is_added_up(a_page: int) -> None:
    """Over pages with few requests, whose times are kept, and with many, which are digested."""
    ledger, requests = Ledger(1.0), 3000
    for number in range(requests):
        ledger.page.count([0.0, 0.0, 0.0, float(number), 0.0, 0.0, 512, 64, 3_000_000_001, 400])
        if number % a_page == a_page - 1:
            ledger.turn(ledger.turns_at + 0.1)
    traffic = ledger.since_start()
    assert (traffic.prompt_tokens, traffic.completion_tokens) == (512 * requests, 64 * requests)
    assert (traffic.sent_bytes, traffic.received_bytes) == (3_000_000_001 * requests, 400 * requests)
    server = traffic.stages["server"]
    assert (server.count, server.total, server.max) == (requests, sum(range(requests)), requests - 1)
    assert server.p50 == pytest.approx(requests / 2, rel=0.05)
    assert server.p99 == pytest.approx(0.99 * requests, rel=0.05)
    assert traffic.stages["fetch"].max == 0.0


def test_where_nothing_ended_there_are_no_stages() -> None:
    assert Ledger(1.0).since_start().stages == {}
