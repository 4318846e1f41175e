"""The table of engines and features in docs/engines.md says what each engine does."""

from __future__ import annotations

import pytest

from tools.engine_features import DOCUMENT, FEATURES, IGNORED, columns_in, features_of
from tools.served_engines import ENGINES

COLUMNS = columns_in(DOCUMENT.read_text())


@pytest.mark.timeout(900)
def test_the_table_says_what_the_engine_does(engine_name: str) -> None:
    found = features_of(ENGINES[engine_name])
    assert COLUMNS[engine_name] == found, f"run: python -m tools.engine_features {engine_name}"


def test_the_table_is_whole() -> None:
    assert [*COLUMNS] == [*ENGINES]
    for cells in COLUMNS.values():
        assert [*cells] == [*FEATURES]


def test_models_ignore_nothing_that_they_are_asked_for() -> None:
    """They do it, or refuse: never something else in silence."""
    simulated = {"sim", "tiny", "replay"}
    ignoring = [name for name in COLUMNS if IGNORED in COLUMNS[name].values()]
    assert {*ignoring} <= simulated
