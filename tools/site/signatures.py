"""An extension of griffe, which reads the code without running it: what our own decorators and bases make."""

from __future__ import annotations

from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Constructors of structs, `lazy` attributes, and methods that `_async_form` makes of others."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        if "__init__" not in cls.members and cls.docstring and "Parameters\n" in cls.docstring.value:
            cls.set_member("__init__", _constructor(cls))
        for name, member in list(cls.members.items()):
            member.labels -= {"class-attribute", "instance-attribute"}  # It makes no difference to a reader.
            if isinstance(member, griffe.Function) and _is_decorated_by("lazy", member):
                cls.set_member(name, _attribute(member))
            elif isinstance(member, griffe.Attribute) and _calls("_async_form", member.value):
                cls.set_member(name, _async_form(name, cls[name.removesuffix("_async")]))


def _constructor(cls: griffe.Class) -> griffe.Function:
    """What msgspec makes of the fields that a struct's docstring tells of."""
    by_keyword = cls.keywords.get("kw_only") == "True"
    kind = griffe.ParameterKind.keyword_only if by_keyword else griffe.ParameterKind.positional_or_keyword
    fields = [
        griffe.Parameter(name, annotation=field.annotation, kind=kind, default=field.value)
        for name, field in cls.members.items()
        if isinstance(field, griffe.Attribute) and _is_public_field(field)
    ]
    return griffe.Function("__init__", parameters=griffe.Parameters(_self(), *fields), parent=cls)


def _is_public_field(attribute: griffe.Attribute) -> bool:
    is_field = attribute.annotation is not None and "property" not in attribute.labels
    return is_field and not attribute.name.startswith("_")


def _attribute(function: griffe.Function) -> griffe.Attribute:
    attribute = griffe.Attribute(
        function.name, annotation=function.returns, docstring=function.docstring, parent=function.parent
    )
    attribute.labels.add("property")
    return attribute


def _async_form(name: str, method: griffe.Function) -> griffe.Function:
    """The coroutine method, which gives what the future that `method` returns gives."""
    future = method.returns
    gives = future.slice if isinstance(future, griffe.ExprSubscript) else future
    twin = griffe.Function(name, parameters=method.parameters, returns=gives, parent=method.parent)
    twin.docstring = griffe.Docstring(f"What `await {method.name}(...)` gives, for code that calls it so.")
    twin.docstring.parent = twin
    twin.labels.add("async")
    return twin


def _self() -> griffe.Parameter:
    return griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)


def _is_decorated_by(name: str, function: griffe.Function) -> bool:
    return any(str(decorator.value) == name for decorator in function.decorators)


def _calls(name: str, value: object) -> bool:
    return isinstance(value, griffe.ExprCall) and str(value.function) == name
