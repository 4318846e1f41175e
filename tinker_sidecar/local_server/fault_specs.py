"""What goes wrong, how often, on which route: the argument of `serve --fault`.

    ROUTE:KIND[@PROBABILITY][,OPTION=VALUE]…

`asample:429@0.05`, `retrieve_future:reset-mid-body,first=3`,
`retrieve_future:200,first=2,body={"type": "try_again", "queue_state": "paused_capacity"}`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from tinker_sidecar.local_server.paths import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EVERY_ROUTE", "KINDS", "Fault", "parse_fault"]

EVERY_ROUTE = "*"

KINDS = {
    "reset": "the request is done, but the connection is reset instead of the answer",
    "reset-mid-body": "the connection is reset after half of the answer's body",
    "hang": "the request is done, but never answered",
    "delay": "the request is done `seconds` after it came (default 1)",
    "drip": "the answer's body comes in small pieces, over `seconds` (default 2)",
    "truncate": "the second half of the answer's body is missing, and not announced",
    "corrupt": "the answer's first bytes are garbage in JSON and in protobuf",
    "empty": "the answer's body is missing, and not announced",
    "mislabel": "the answer is called text/html, whatever it is",
    "huge": "a 200 of `mib` MiB of blanks in place of the answer (default 64)",
    "bomb": "a 200 of `mib` MiB of blanks (default 64), gzipped to a thousandth of that",
    "forget": "the server forgets all sessions, as one that was restarted, then answers",
}
"""And each HTTP status: that answer, with `body`, in place of doing the request."""

_SPEC = re.compile(
    r"(?P<route>[^:]+):(?P<kind>[^@,]+)(@(?P<probability>[^,]+))?(,(?P<options>.*))?", re.DOTALL
)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One `--fault`. A request that several match gets the first of them."""

    text: str
    """As it was written."""
    route: str
    kind: str
    probability: float = 1.0
    first: int | None = None
    """How many requests it hits at most."""
    after: int = 0
    """How many requests on its route pass before it begins."""
    seconds: float | None = None
    mib: int = 64
    body: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status that `kind` is."""
        return int(self.kind) if self.kind.isdigit() else None


class _Option(msgspec.Struct, frozen=True):
    read: Callable[[str], Any]
    least: float
    most: float
    what: str

    def value(self, text: str) -> Any:
        value = self.read(text)
        if not self.least <= value <= self.most:
            raise ValueError(text)
        return value


_PROBABILITY = _Option(float, 0, 1, "a probability from 0 to 1")
_OPTIONS = {
    "first": _Option(int, 1, math.inf, "a whole number, 1 or more"),
    "after": _Option(int, 0, math.inf, "a whole number, 0 or more"),
    "seconds": _Option(float, 0, 1e6, "seconds, 0 or more"),
    "mib": _Option(int, 1, 1 << 20, "a whole number of MiB, 1 or more"),
}
_BODY = "body"


def parse_fault(text: str) -> Fault:
    """The fault that `text` describes.

    Raises
    ------
    ValueError
        It is not of that form, or names a route, kind or option that there is not.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise ValueError(f"fault {text!r}: {error}") from None


def _parse(text: str) -> Fault:
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ValueError("not of the form ROUTE:KIND[@PROBABILITY][,OPTION=VALUE]")
    route, kind = match["route"], match["kind"]
    if route not in (EVERY_ROUTE, *ROUTES):
        raise ValueError(f"no route {route!r}; there are *, {', '.join(ROUTES)}")
    if kind not in KINDS and not re.fullmatch("[2-5][0-9]{2}", kind):
        raise ValueError(f"no kind {kind!r}; there are HTTP statuses, {', '.join(KINDS)}")
    values = _options(match["options"] or "")
    if match["probability"] is not None:
        values["probability"] = _value("probability", _PROBABILITY, match["probability"])
    return Fault(text=text, route=route, kind=kind, **values)


def _options(assignments: str) -> dict[str, Any]:
    """Options by name. A body may hold commas, so it takes all that follows."""
    values: dict[str, Any] = {}
    while assignments:
        name, equals, rest = assignments.partition("=")
        if name == _BODY and equals:
            return values | {_BODY: rest}
        if name not in _OPTIONS or not equals:
            raise ValueError(f"no option {name!r}; there are {', '.join([*_OPTIONS, _BODY])}, each =VALUE")
        value, _, assignments = rest.partition(",")
        values[name] = _value(name, _OPTIONS[name], value)
    return values


def _value(name: str, option: _Option, text: str) -> Any:
    try:
        return option.value(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; it must be {option.what}") from None
