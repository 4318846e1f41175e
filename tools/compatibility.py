"""Write `docs/compatibility.md`: the official sampling surface, ours beside it.

    python tools/compatibility.py           # writes the file; builds what environments are missing
    python tools/compatibility.py --check   # only tells what has no explanation

Ends with status 1 when something differs from the official SDK and REASONS does not say why.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tools.official_sdk import VERSIONS, python_with
from tools.surface import CLASSES

__all__ = ["DOCUMENT", "REASONS", "Row", "document", "rows", "unexplained", "unused_reasons"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "compatibility.md"

_SURFACE = Path(__file__).with_name("surface.py")

REASONS = {
    "left out": {
        "tinker.BackcompatSamplingClientFuture": "`create_sampling_client` returns the client itself",
        "TopkPromptLogprobs*": "called `TopkLogprobs` since 0.28",
        "ServiceClient(**kwargs)": "settings of the official HTTP client; three are arguments here",
        "ServiceClient.create_*train*": "training",
        "ServiceClient.create_custom_loss*": "training",
        "ServiceClient.copy_weights*": "weights",
        "ServiceClient.create_rest_client*": "REST calls",
        "ServiceClient.get_console_url*": "the hosted service's web pages",
        "*.holder": "the official client's inside",
        "SamplingClient(*)": "made by `create_sampling_client` alone, in both",
        "SamplingClient.create()": "takes the official client's inside; for users there is "
        "`create_sampling_client`",
        "SamplingClient.feature_gates": "the official client's inside",
        "SamplingClient.retry_handler": "the official client's inside",
        "ServiceClient.create_sampling_client*(record_stability_info)": "the service's own diagnostics",
        "*Error(re[qs]*)": "errors pickle and hold no object of an HTTP library",
        "*Error.request": "errors pickle and hold no object of an HTTP library",
        "*Error.response": "errors pickle and hold no object of an HTTP library",
    },
    "differs": {
        "SamplingClient(*)": "made by `create_sampling_client` alone, in both",
        "RetryConfig(max_connections)": "no limit of ours; the server's applies in both",
        "RetryConfig(progress_timeout)": "a request that is stuck is told of in minutes, not hours",
        "RetryConfig(retryable_exceptions)": "kept for code that sets it; the engine knows what may pass",
        "SampledSequence(sequence_id)": "older servers give none",
        "ServiceClient.close(status)": "may be left out, as before 0.28",
        "*Error(*)": "no HTTP object to be given, and the rest may be left out",
        "*Error.status_code": "known without a response",
    },
    "extra": {
        "tinker.QueueState": "in the package itself, not deep inside",
        "tinker.RequestErrorCategory": "in the package itself too",
        "tinker.install": "has the official SDK's own clients sample through the sidecar",
        "tinker.Stats": "what `stats` returns",
        "tinker.stats": "what has happened, and where the time went",
        "tinker.status": "who samples, in one line",
        "tinker.uninstall": "undoes `install`",
        "tinker.RetryConfig": "in the package itself, not deep inside",
        "tinker.shutdown": "ends the sidecar, the engine's thread and the local server",
        "tinker.types.TopkLogprobs": "in `types`, not deep inside",
        "SamplingClient(*)": "made by `create_sampling_client` alone, in both",
        "ServiceClient(default_headers)": "one of the official `**kwargs` until 0.26",
        "ServiceClient(subprocess_sampling)": "where to sample, in place of the variable; "
        "official clients take it in `create_sampling_client`",
        "ServiceClient(max_retries)": "one of the official `**kwargs` until 0.26; 0 is never to sample again",
        "ServiceClient(timeout)": "one of the official `**kwargs` until 0.26; kept for code that sets it",
        "SamplingClient.retry_config": "what it was created with",
        "SamplingClient.sampling_session_id": "the server's name for it, which the official client hides",
        "SamplingClient.from_tinker()": "ours for an official client's sampler",
        "SamplingClient.session_id": "the server's name for its session",
        "SamplingClient.stats()": "what has happened to its requests, and where their time went",
        "SamplingClient.*": "it is the future of itself, for code of both eras",
        "APIFuture.request_id": "the server's name for the request",
        "APIFuture.submitted_at": "when the call was made",
        "APIFuture.*": "it is a `concurrent.futures.Future` itself, which is what 0.26.2 returns",
        "*.to_wire()": "for the engine",
        "*.from_wire()": "for the engine",
        "*.coerce()": "takes objects of the official SDK for ours",
        "*.model_*()": "pydantic's, which the official ones inherit",
        "SampleResponse.samples": "the same list as `sequences`",
        "SampleResponse(*prompt_logprobs)": "lists instead of arrays, to build one in a test",
        "SampledSequence(*)": "lists instead of arrays, to build one in a test",
        "*Error.message": "on every error",
        "*Error.request_id": "to name the request to the server's people",
        "*Error(*)": "the attributes of the same names",
    },
}
"""Why ours is not the same, by status and pattern; the first that fits counts."""

NOT_SAMPLING = {
    "training": """*Training* Adam* Dimuon* Optim* Datum Forward* Lora* Loss* *CustomLoss* PerDatumLossFn
        CreateModel* UnloadModel* ModelID ModelData GetInfo* *Provenance*""",
    "weights, checkpoints, sessions, billing and the like: REST calls": """*Weights* *Checkpoint* RestClient
        AdminClient AuditLog* *Billing* Whoami* Session* *SearchOwner *StatusQuery ListSessions* GetSession*
        Cursor ClientSession* ExperimentalWarning""",
    "messages of the protocol, which the engine writes and reads": """*Request *Response *ResponseInternal
        Future* Telemetry* Severity *Event EventType RequestID UntypedAPIFuture SamplingSessionFuturesTarget
        SamplingClientKind""",
    "parts of the official HTTP client": "Timeout RequestOptions",
}
"""Public names of the official packages that have nothing to do with sampling, by reason."""


class Row(NamedTuple):
    """One thing a user may use, and what it is in each package: None where it isn't."""

    name: str
    official: tuple[str | None, ...]
    ours: str | None

    @property
    def status(self) -> str:
        if self.newest is None:
            return "extra"
        if self.ours is None:
            return "left out"
        return "same" if self.ours == self.newest else "differs"

    @property
    def newest(self) -> str | None:
        """What it is in the newest official version that has it."""
        return next((text for text in reversed(self.official) if text is not None), None)

    @property
    def shown_name(self) -> str:
        """The name, which says of what is left out that it is the official SDK's."""
        theirs = self.ours is None and not self.name.startswith("tinker.")
        return f"tinker.{self.name}" if theirs else self.name

    @property
    def reason(self) -> str | None:
        """Why, where it isn't the same; None where nobody has said so yet."""
        return REASONS[self.status].get(self.pattern or "")

    @property
    def explanation(self) -> str:
        """The reason, as the document has it."""
        return "" if self.status == "same" else self.reason or "**not explained**"

    @property
    def pattern(self) -> str | None:
        patterns = REASONS.get(self.status, {})
        return next((pattern for pattern in patterns if fnmatchcase(self.name, pattern)), None)


def rows() -> dict[str, list[Row]]:
    """Every row, by section: the names to import, then each class."""
    official, ours = _surfaces()
    sections = {"Names": list(_name_rows(official, ours))}
    for name in CLASSES:
        tables = [surface["members"].get(name, {}) for surface in (*official, ours)]
        sections[name] = [
            Row(key, tuple(table.get(key) for table in tables[:-1]), tables[-1].get(key))
            for key in _in_order(tables)
        ]
    for name in reversed(CLASSES):
        sections[name] = _without_arguments_alone(_without_inherited(name, sections))
    return {name: section for name, section in sections.items() if section}


def unexplained(sections: dict[str, list[Row]]) -> list[str]:
    """What is not as in the official SDK, without a reason."""
    return [
        f"{row.name} ({row.status})"
        for section in sections.values()
        for row in section
        if row.status != "same" and row.reason is None
    ]


def unused_reasons(sections: dict[str, list[Row]]) -> list[str]:
    """Reasons for what is the same by now, or gone."""
    used = {(row.status, row.pattern) for section in sections.values() for row in section}
    return [
        f"{pattern} ({status})"
        for status, patterns in REASONS.items()
        for pattern in patterns
        if (status, pattern) not in used
    ]


@cache
def _surfaces() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    official = [_surface(python_with(version), "tinker") for version in VERSIONS]
    return official, _surface(Path(sys.executable), "tinker_client")


def _surface(python: Path, package: str) -> dict[str, Any]:
    done = subprocess.run([python, _SURFACE, package], capture_output=True, text=True, check=True)
    surface: dict[str, Any] = json.loads(done.stdout)
    return surface


def _name_rows(official: list[dict[str, Any]], ours: dict[str, Any]) -> Iterator[Row]:
    for module in ("", "types"):
        tables = [surface["names"][module] for surface in (*official, ours)]
        for name in sorted(_in_order(tables)):
            if name in CLASSES or _not_sampling(name) is None:
                present = ["yes" if name in table else None for table in tables]
                yield Row(f"{f'tinker.{module}'.rstrip('.')}.{name}", tuple(present[:-1]), present[-1])


def _in_order(tables: list[Any]) -> list[str]:
    """All that any table has, as the newest official one has it, then the older ones, then ours."""
    *official, ours = tables
    return list(dict.fromkeys(key for table in (*reversed(official), ours) for key in table))


def _not_sampling(name: str) -> str | None:
    for reason, patterns in NOT_SAMPLING.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns.split()):
            return reason
    return None


def _without_inherited(name: str, sections: dict[str, list[Row]]) -> list[Row]:
    """An error's rows without those that repeat its parent's."""
    section = sections[name]
    head, _, parent = (section[0].ours or "").partition(", child of ") if section else ("", "", "")
    if head != "error" or not parent:
        return section
    inherited = {(row.name.removeprefix(parent), row.official, row.ours) for row in sections[parent]}
    return [row for row in section if (row.name.removeprefix(name), *row[1:]) not in inherited]


def _without_arguments_alone(section: list[Row]) -> list[Row]:
    """A method that only one side has says it all; its arguments need no rows."""
    alone = tuple(
        row.name.removesuffix(")")
        for row in section
        if row.name.endswith("()") and row.status in ("extra", "left out")
    )
    return [row for row in section if row.name.endswith("()") or not row.name.startswith(alone or ("\0",))]


def document(sections: dict[str, list[Row]]) -> str:
    """The whole file: what is to be minded by those who move over, then everything."""
    everything = [row for section in sections.values() for row in section]
    of_status = {status: [row for row in everything if row.status == status] for status in _STATUSES}
    summary = ", ".join(f"{len(rows)} {status}" for status, rows in of_status.items())
    parts = [
        _INTRODUCTION.format(summary=summary, versions=" and ".join(VERSIONS)),
        _differences(of_status["differs"]),
        _omissions(of_status["left out"]),
        _EVERYTHING,
    ]
    for title, section in sections.items():
        parts.append(
            "\n".join([f"### {title}", "", *_table(*VERSIONS, "ours", "", "why"), *map(_line, section)])
        )
    return "\n\n".join([*parts, _elsewhere()]) + "\n"


_STATUSES = ("differs", "left out", "extra", "same")

_INTRODUCTION = """\
# Compatibility with the official SDK

Written by `tools/compatibility.py`, which inspects the installed packages; do not edit it by hand.

Everything public that has to do with sampling in `tinker` {versions}, ours beside it: {summary}.
What differs or is left out comes first. "Argument 2" is the second after `self`.
[migrating.md](migrating.md#what-changes) tells what changes besides names and arguments.

Our types are immutable. Those that are pydantic models in the official SDK have `model_copy`, `model_dump`,
`model_validate` and the same for JSON, and all may be fields of pydantic models. What is the same in name is
compared in value by `tests/conformance`, which runs one set of calls through the official SDK and through
both hosts of ours."""

_EVERYTHING = """\
## Everything

What is extra is here, too: it is in this package alone."""


def _differences(rows: list[Row]) -> str:
    newest = VERSIONS[-1]
    lines = [_cells(f"`{row.name}`", row.newest or "–", row.ours or "–", row.explanation) for row in rows]
    return "\n".join(["## What differs", "", *_table(newest, "ours", "why"), *lines])


def _omissions(rows: list[Row]) -> str:
    lines = [_cells(f"`{row.shown_name}`", row.explanation) for row in rows]
    return "\n".join(["## What is left out", "", *_table("why"), *lines])


def _table(*columns: str) -> list[str]:
    """The head of a table whose first column, without a title, has names."""
    return [_cells("", *columns), "|" + "---|" * (len(columns) + 1)]


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _line(row: Row) -> str:
    cells = [cell or "–" for cell in (*row.official, row.ours)]
    return _cells(f"`{row.shown_name}`", *cells, row.status, row.explanation)


def _elsewhere() -> str:
    official, _ = _surfaces()
    groups: dict[str, set[str]] = {reason: set() for reason in NOT_SAMPLING}
    for surface in official:
        for names in surface["names"].values():
            for name in names:
                if name not in CLASSES and (reason := _not_sampling(name)) is not None:
                    groups[reason].add(name)
    lines = ["## Not sampling", "", "Public names of the official packages that are left out whole:", ""]
    lines += [
        f"- {reason}: {', '.join(f'`{name}`' for name in sorted(names))}" for reason, names in groups.items()
    ]
    return "\n".join(lines)


def main() -> int:
    sections = rows()
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(document(sections))
        print(f"wrote {DOCUMENT}")
    missing = unexplained(sections)
    for line in missing:
        print(f"not explained: {line}", file=sys.stderr)
    for pattern in unused_reasons(sections):
        print(f"a reason for nothing: {pattern}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
