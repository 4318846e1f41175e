"""Reads a recording: the n-th result of a request, and what is nearest to one that was never recorded."""

from __future__ import annotations

import sqlite3
from array import array
from pathlib import Path
from typing import NamedTuple

import msgspec

from tinker_sidecar.ipc.protocol import SampleResult
from tinker_sidecar.recording.asked import Asked
from tinker_sidecar.recording.database import RecordingError, open_for_reading

__all__ = ["RecordedResult", "RecordedResults"]

_SHOWN = 8
"""Tokens of a prompt that a message shows before and after the place where two prompts part."""

_NEXT = """
SELECT asked, id, took, result FROM results
WHERE key = ? AND model = ? AND (asked, id) > (?, ?) ORDER BY asked, id LIMIT 1
"""

_NEIGHBOURS = (
    "SELECT prompt FROM requests WHERE prompt >= ? ORDER BY prompt LIMIT 1",
    "SELECT prompt FROM requests WHERE prompt < ? ORDER BY prompt DESC LIMIT 1",
)
_PARAMETERS = "SELECT parameters FROM requests WHERE prompt = ? ORDER BY key LIMIT 100"

_decode_result = msgspec.msgpack.Decoder(SampleResult).decode


class RecordedResult(NamedTuple):
    """A result, and the seconds that it took when it was recorded."""

    result: SampleResult
    took: float


class RecordedResults:
    """The recording in `folder`. How often each request has been asked for is kept on disk, too.

    Raises `RecordingError`, here and when it turns out later that a part of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = open_for_reading(folder)
        # A temporary table: SQLite keeps as much of it in memory as of any other.
        self._database.execute(
            "CREATE TEMP TABLE given (key BLOB, model TEXT, asked REAL, id INTEGER, times INTEGER,"
            " PRIMARY KEY (key, model)) WITHOUT ROWID"
        )
        self._database.execute("PRAGMA temp.journal_mode = OFF")

    def base_models(self) -> list[str]:
        """The models that were sampled, in the order of their first results."""
        names = self._rows("SELECT name FROM models WHERE name != '' ORDER BY id")
        return [name for (name,) in names]

    def next(self, asked: Asked, base_model: str) -> RecordedResult | None:
        """The result of `asked` that follows on the last one given, in the order of when they were asked for.

        None if there is none. Where it is not known what model was sampled, it counts as `base_model`.
        """
        key = asked.key
        for model in (base_model, ""):
            at, last, times = self._given(key, model) or (float("-inf"), 0, 0)
            for asked_at, number, took, result in self._rows(_NEXT, key, model, at, last):
                given = key, model, asked_at, number, times + 1
                self._rows("INSERT OR REPLACE INTO given VALUES (?, ?, ?, ?, ?)", *given)
                return RecordedResult(self._decoded(result), took)
        self._check_not_lost(asked)
        return None

    def why_not(self, asked: Asked, base_model: str) -> str:
        """One line on why there is nothing, or no more, recorded for `asked`."""
        times = sum(given[2] for model in (base_model, "") if (given := self._given(asked.key, model)))
        if times:
            return f"this request has {times} recorded result{'s' * (times > 1)}, and is asked for once more"
        if others := self._models_of(asked.key):
            return f"this request was recorded of {' and '.join(map(repr, others))}, not of {base_model!r}"
        if recorded := self._rows(_PARAMETERS, asked.prompt):
            return _other_parameters([parameters for (parameters,) in recorded], asked.parameters.decode())
        nearest = self._nearest(asked.prompt)
        if nearest is None:
            return "nothing was recorded"
        return f"this prompt was never recorded; {_difference(asked.prompt, nearest)}"

    def _check_not_lost(self, asked: Asked) -> None:
        """A request is written with its result."""
        known = self._rows("SELECT 1 FROM requests WHERE prompt = ? AND key = ?", asked.prompt, asked.key)
        if known and not self._models_of(asked.key):
            raise self._damaged("a result that was in it is missing")

    def has_results(self) -> bool:
        """Whether there are any."""
        return bool(self._rows("SELECT 1 FROM results LIMIT 1"))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _given(self, key: bytes, model: str) -> tuple[float, int, int] | None:
        rows = self._rows("SELECT asked, id, times FROM given WHERE key = ? AND model = ?", key, model)
        return rows[0] if rows else None

    def _models_of(self, key: bytes) -> list[str]:
        rows = self._rows("SELECT DISTINCT model FROM results WHERE key = ? ORDER BY model LIMIT 4", key)
        return [model for (model,) in rows]

    def _nearest(self, prompt: bytes) -> bytes | None:
        """The recorded prompt whose beginning has most in common with `prompt`."""
        neighbours: list[bytes] = [
            found for statement in _NEIGHBOURS for (found,) in self._rows(statement, prompt)
        ]
        return max(neighbours, key=lambda neighbour: _in_common(neighbour, prompt), default=None)

    def _rows(self, statement: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]  # As sqlite3 has it.
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _decoded(self, result: bytes) -> SampleResult:
        try:
            return _decode_result(result)
        except msgspec.MsgspecError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: object) -> RecordingError:
        return RecordingError(f"the recording in {self._folder} is damaged: {error}")


def _other_parameters(recorded: list[str], asked: str) -> str:
    """Those of them that differ least from `asked`, and how many there are."""
    wanted = msgspec.json.decode(asked).items()

    def differences(parameters: str) -> int:
        its = msgspec.json.decode(parameters).items()
        return sum(pair not in its for pair in wanted) + sum(pair not in wanted for pair in its)

    others = len(recorded) - 1
    more = f" (and with {others} other{'s' * (others > 1)})" if others else ""
    return f"this prompt was recorded with {min(recorded, key=differences)}{more}, not with {asked}"


def _difference(prompt: bytes, recorded: bytes) -> str:
    """Where two prompts part, and how each goes on from shortly before that."""
    place = _in_common(prompt, recorded)
    return (
        f"it has {len(prompt) // 4} tokens, of which {place} are those of the nearest one, which has"
        f" {len(recorded) // 4}: {_extract(prompt, place)} instead of {_extract(recorded, place)}"
    )


def _in_common(prompt: bytes, other: bytes) -> int:
    """How many tokens two prompts begin with alike."""
    pairs = zip(array("i", prompt), array("i", other), strict=False)
    return next(
        (place for place, (token, its) in enumerate(pairs) if token != its), min(len(prompt), len(other)) // 4
    )


def _extract(prompt: bytes, place: int) -> str:
    tokens = array("i", prompt)
    begin, end = max(0, place - _SHOWN), place + _SHOWN
    shown = " ".join(map(str, tokens[begin:end]))
    return f"[{'… ' * (begin > 0)}{shown}{' …' * (end < len(tokens))}]"
