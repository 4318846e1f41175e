"""The methods of a pydantic model that people call, and what pydantic wants of a field's type.

In the official SDK the parts of a request are pydantic models. pydantic itself is not imported here: where
it calls, it is there.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from tinker_client.types._checks import is_official, wrong_type

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["PydanticField", "PydanticModel"]


class PydanticField:
    """Its instances may be in a field of a pydantic model."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"title": cls.__name__, "type": "object"}


class PydanticModel(PydanticField):
    """Has the methods of a pydantic model, and is made of a dict in a field of one."""

    __slots__ = ()

    _ignores_other_fields: ClassVar[bool] = False

    def _fields(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _defaults(cls) -> Mapping[str, Any]:
        """Each field's name, and what it is if nobody sets it: `msgspec.NODEFAULT` if it must be set."""
        raise NotImplementedError

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the fields in `update` replaced, and checked; `deep`: a deep one.

        Raises `TypeError` or `ValueError` for a field that the class refuses.
        """
        fields = copy.deepcopy(self._fields()) if deep else self._fields()
        return type(self)(**{**fields, **(update or {})})

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Container[str] | None = None,
        exclude: Container[str] | None = None,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
    ) -> dict[str, Any]:
        """The fields as JSON can hold them, bytes in base64; the class takes them back.

        Parameters
        ----------
        mode
            Changes nothing: the result is that of pydantic's "json".
        include, exclude
            Names of the fields that are wanted, and of those that are not.
        exclude_unset, exclude_defaults
            Leave out fields that are as by default. Which have been set is not kept, so the two are one.
        exclude_none
            Leave out fields that are None.
        """
        without_defaults = exclude_unset or exclude_defaults
        defaults = self._defaults()
        return {
            name: _plain(value, exclude_defaults=without_defaults, exclude_none=exclude_none)
            for name, value in self._fields().items()
            if (include is None or name in include)
            and (exclude is None or name not in exclude)
            and not (exclude_none and value is None)
            and not (without_defaults and value == defaults[name])
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """What `model_dump` gives with the same `options`, as JSON: on one line, or with an `indent`."""
        encoded = msgspec.json.encode(self.model_dump(**options))
        return (encoded if indent is None else msgspec.json.format(encoded, indent=indent)).decode()

    @classmethod
    def model_validate(cls, obj: Any) -> Self:
        """`obj` if it is one, or one made of the fields in a dict or of an object of the official SDK.

        Raises
        ------
        ValueError
            It cannot be made of that; the message says why.
        """
        if isinstance(obj, cls):
            return obj
        if is_official(obj, cls.__name__):
            obj = obj.model_dump()
        try:
            if not isinstance(obj, Mapping):
                raise wrong_type(cls.__name__, "made of a dict of its fields", obj)
            if cls._ignores_other_fields:
                obj = {name: value for name, value in obj.items() if name in cls._defaults()}
            return cls(**obj)
        except TypeError as error:
            raise ValueError(f"not a {cls.__name__}: {error}") from error

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray) -> Self:
        """What `model_validate` makes of `json_data`. Raises `ValueError`, too, where it is no JSON."""
        try:
            obj = msgspec.json.decode(json_data)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a {cls.__name__}: not even JSON: {error}") from error
        return cls.model_validate(obj)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def dump(value: Self, info: Any) -> dict[str, Any]:
            return value.model_dump(
                exclude_unset=info.exclude_unset,
                exclude_defaults=info.exclude_defaults,
                exclude_none=info.exclude_none,
            )

        serialization = core_schema.plain_serializer_function_ser_schema(dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(cls.model_validate, serialization=serialization)


def _plain(value: Any, **options: Any) -> Any:
    if isinstance(value, PydanticModel):
        return value.model_dump(**options)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list) and value and isinstance(value[0], PydanticModel):
        return [part.model_dump(**options) for part in value]
    return list(value) if isinstance(value, list | tuple) else value
