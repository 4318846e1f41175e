"""What the public types are made of: plain structs, and immutable views that decode on first use."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic, Never, Self, TypeVar, overload

import msgspec

from tinker_client.types._pydantic import PydanticField, PydanticModel

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Model", "View", "lazy"]

_T = TypeVar("_T")
_V = TypeVar("_V", bound="View")


class Model(PydanticModel, msgspec.Struct, frozen=True, kw_only=True):
    """An immutable record with keyword arguments, and the methods of pydantic that people call."""

    def _fields(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self)

    @classmethod
    @functools.cache
    def _defaults(cls) -> dict[str, Any]:
        fields, defaults = cls.__struct_fields__, cls.__struct_defaults__
        required = [msgspec.NODEFAULT] * (len(fields) - len(defaults))
        return dict(zip(fields, [*required, *defaults], strict=True))


class View(PydanticField):
    """An immutable object over encoded bytes. Its `lazy` attributes live in `__dict__`."""

    __slots__ = ("__dict__",)

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> Never:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name!r}")


class lazy(Generic[_V, _T]):  # noqa: N801 - used as a decorator, like `property`
    """An attribute computed on first use and kept.

    Unlike `functools.cached_property` it takes no lock, which in Python 3.11 all instances share:
    a thread that loses the GIL while it decodes would hold up every other one.
    """

    def __init__(self, compute: Callable[[_V], _T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type[_V]) -> Self: ...
    @overload
    def __get__(self, instance: _V, owner: type[_V]) -> _T: ...
    def __get__(self, instance: _V | None, owner: type[_V]) -> Self | _T:
        if instance is None:
            return self
        # Two threads may both compute it, but both get the one that was first.
        value: _T = instance.__dict__.setdefault(self._name, self._compute(instance))
        return value
