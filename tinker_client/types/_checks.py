"""Checks of arguments, each with a message that gives the name, the value and what is allowed."""

from __future__ import annotations

import functools
import operator
import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["INT64", "TOKEN_ID", "as_float", "as_int", "is_official", "short", "wrong_type", "wrong_value"]

TOKEN_ID = (0, 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)


def wrong_type(name: str, allowed: str, value: object) -> TypeError:
    return TypeError(_message(name, allowed, value))


def wrong_value(name: str, allowed: str, value: object) -> ValueError:
    return ValueError(_message(name, allowed, value))


def _message(name: str, allowed: str, value: object) -> str:
    return f"{name} must be {allowed}, got {type(value).__name__}: {reprlib.repr(value)}"


def as_int(name: str, value: object, allowed: str, bounds: tuple[int, int]) -> int:
    """`value` as an int within `bounds`; any integer type will do, but not a bool."""
    if type(value) is int and bounds[0] <= value <= bounds[1]:
        return value  # The usual case, checked first, as every sample has four of these.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise wrong_type(name, allowed, value)
    try:
        number = operator.index(value)
    except TypeError:  # An array has `__index__` too, whatever it holds.
        raise wrong_type(name, allowed, value) from None
    if not bounds[0] <= number <= bounds[1]:
        raise wrong_value(name, allowed, value)
    return number


def as_float(name: str, value: object, allowed: str) -> float:
    """`value` as a float; any real number type will do, but not a bool or text."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise wrong_type(name, allowed, value)
    try:
        return float(value)
    except TypeError:  # An array has `__float__` too, whatever it holds.
        raise wrong_type(name, allowed, value) from None
    except OverflowError:
        raise wrong_value(name, allowed, value) from None


def is_official(value: object, *names: str) -> bool:
    """Whether `value` is an instance of a class of the official SDK that bears one of `names`.

    Told by name, since importing the SDK to ask would take a third of a second.
    """
    cls: Any = type(value)
    return not _official_names(cls).isdisjoint(names)


@functools.lru_cache
def _official_names(cls: type) -> frozenset[str]:
    return frozenset(base.__name__ for base in cls.__mro__ if base.__module__.partition(".")[0] == "tinker")


def short(values: Iterable[object], count: int) -> str:
    """`values` as a list's repr, cut after a few of them."""
    shown = [repr(value) for value, _ in zip(values, range(8), strict=False)]
    more = [f"... {count - len(shown)} more"] if count > len(shown) else []
    return f"[{', '.join(shown + more)}]"
