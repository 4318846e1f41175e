"""One answer in five goes wrong, in every way at once: each request ends with its tokens, and once."""

from __future__ import annotations

import pytest

from tests.connection import Connect, flag, option

REQUESTS = 1000

# A 410 would be submitted anew, under another number: whether anything is done twice shows without.
FAULTS = (
    "*:500@0.04",
    "*:503@0.02,body=<html><body>Bad gateway</body></html>",
    "*:408@0.02",
    "*:reset@0.04",
    "*:reset-mid-body@0.03",
    "*:truncate@0.01",
    "*:corrupt@0.01",
    "*:empty@0.01",
    "*:drip@0.01,seconds=0.2",
    "*:delay@0.01,seconds=0.3",
)


@pytest.mark.parametrize("polls", ["a poll for each", "one poll for all"])
def test_a_thousand_requests(connect: Connect, polls: str) -> None:
    connection = connect(
        *option("fault", *FAULTS),
        *flag("sample_use_retrieve_futures", polls == "one poll for all"),
        "--fault-seed=5",
    )
    connection.check_samples(REQUESTS, timeout=50)

    assert connection.submitted == REQUESTS
    statuses = [request["status"] for request in connection.log["requests"]]
    assert sum(status != 200 for status in statuses) > REQUESTS * 2 * 0.05
