"""`docs/compatibility.md` is what the installed packages are, and explains every difference."""

from __future__ import annotations

import pytest

from tools.compatibility import DOCUMENT, Row, document, rows, unexplained, unused_reasons
from tools.surface import CLASSES, surface


@pytest.fixture(scope="module")
def sections() -> dict[str, list[Row]]:
    return rows()


@pytest.mark.interop
@pytest.mark.timeout(900)  # The first one builds the environments.
def test_every_difference_is_explained(sections: dict[str, list[Row]]) -> None:
    assert unexplained(sections) == []


@pytest.mark.interop
@pytest.mark.timeout(900)
def test_no_explanation_is_stale(sections: dict[str, list[Row]]) -> None:
    assert unused_reasons(sections) == []


@pytest.mark.interop
@pytest.mark.timeout(900)
def test_the_document_is_up_to_date(sections: dict[str, list[Row]]) -> None:
    assert DOCUMENT.read_text() == document(sections), "run: python tools/compatibility.py"


def test_the_document_leads_with_what_is_not_the_same() -> None:
    before, _, everything = DOCUMENT.read_text().partition("\n## Everything\n")
    for title, status in (("What differs", "differs"), ("What is left out", "left out")):
        lead = before.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        names = [line.split(" | ")[0] for line in everything.splitlines() if f" | {status} | " in line]
        assert [line.split(" | ")[0] for line in lead.splitlines() if line.startswith("| `")] == names


def test_our_surface_can_be_inspected() -> None:
    ours = surface("tinker_client")
    assert set(CLASSES) - set(ours["members"]) == {"TopkPromptLogprobs"}
    assert ours["members"]["SamplingClient"]["SamplingClient.sample(prompt)"] == "argument 1, required"
    assert ours["members"]["NotFoundError"]["NotFoundError.status_code"] == "attribute, 404"


def test_what_is_missing_has_no_reason_until_someone_gives_one() -> None:
    row = Row("ServiceClient.fly()", ("method", None), None)
    assert unexplained({"": [row]}) == ["ServiceClient.fly() (left out)"]
    assert unexplained({"": [row._replace(ours="method")]}) == []
    assert unexplained({"": [row._replace(name="ServiceClient.copy_weights()")]}) == []
