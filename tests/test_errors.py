"""The error tree: its shape, its attributes, copies and pickles, and errors that come from the engine."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cloudpickle
import pytest

from tinker_client import errors
from tinker_client.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RequestErrorCategory,
    RequestFailedError,
    SidecarDiedError,
    SidecarError,
    SidecarIPCError,
    SidecarStartupError,
    TinkerError,
    UnprocessableEntityError,
    from_failure,
)
from tinker_sidecar.ipc.protocol import Failure

CLASSES: list[type[TinkerError]] = [
    value
    for value in (getattr(errors, name) for name in errors.__all__)
    if isinstance(value, type) and issubclass(value, TinkerError)
]


class OddError(NotFoundError):
    """What a user may derive: another signature, an attribute more."""

    def __init__(self, model: str, *, tries: int) -> None:
        super().__init__(f"no {model}", {"model": model}, request_id="r-1")
        self.tries = tries


def test_the_surface_is_sorted_and_complete() -> None:
    assert errors.__all__ == sorted(set(errors.__all__), key=lambda name: (name[0].islower(), name))
    tree, todo = set(), [TinkerError]
    while todo:
        cls = todo.pop()
        tree.add(cls)
        todo += [child for child in cls.__subclasses__() if child.__module__ == errors.__name__]
    assert tree == set(CLASSES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class, drawn one step further in than its parent."""
    assert errors.__doc__ is not None
    path: list[str] = []
    drawn = {}
    for line in errors.__doc__.splitlines():
        name = next((word for word in line.split() if word in errors.__all__), None)
        if name is None:
            continue
        depth = (line.index(name) - 4) // 4
        path[depth:] = [name]
        drawn[name] = path[-2] if depth else None
    assert drawn == {
        cls.__name__: cls.__mro__[1].__name__ if cls is not TinkerError else None for cls in CLASSES
    }


@pytest.mark.parametrize(
    ("cls", "standard"),
    [
        (APIConnectionError, ConnectionError),
        (APITimeoutError, TimeoutError),
        (APIResponseValidationError, ValueError),
        (BadRequestError, ValueError),
        (PermissionDeniedError, PermissionError),
        (NotFoundError, LookupError),
        (UnprocessableEntityError, ValueError),
        (SidecarStartupError, RuntimeError),
        (SidecarDiedError, ConnectionError),
        (SidecarIPCError, ConnectionError),
    ],
)
def test_standard_classes_catch_ours(cls: type[TinkerError], standard: type[Exception]) -> None:
    with pytest.raises(standard, match=r"^went wrong$"):
        raise cls("went wrong")


@pytest.mark.parametrize("cls", CLASSES)
def test_the_text_is_the_message(cls: type[TinkerError]) -> None:
    error = cls("went wrong")
    assert str(error) == error.message == "went wrong"
    assert error.args == ("went wrong",)


def test_attributes() -> None:
    error = NotFoundError("no such model", {"detail": "x"}, request_id="r-1")
    assert (error.status_code, error.body, error.request_id) == (404, {"detail": "x"}, "r-1")
    assert InternalServerError("down", status_code=503).status_code == 503
    assert APIStatusError("teapot", status_code=418).status_code == 418
    assert str(APIConnectionError()) == "Connection error."
    assert str(APITimeoutError()) == "Request timed out."
    failed = RequestFailedError("too long", "r-2", "user")
    assert (failed.request_id, failed.category) == ("r-2", RequestErrorCategory.User)
    assert RequestFailedError("?", "r-3", "moon").category is RequestErrorCategory.Unknown


SAMPLES: list[TinkerError] = [
    *(cls("went wrong") for cls in CLASSES),
    APIError("went wrong", {"detail": [1]}, request_id="r-1"),
    APIConnectionError("refused", "body", request_id="r-1"),
    APITimeoutError("late", request_id="r-1"),
    APIResponseValidationError("no field", b"raw", status_code=200, request_id="r-1"),
    InternalServerError("down", {"a": 1}, status_code=503, request_id="r-1"),
    RequestFailedError("too long", "r-2", RequestErrorCategory.User),
    OddError("model", tries=3),
]

DUPLICATES: list[Any] = [
    copy.copy,
    copy.deepcopy,
    lambda error: pickle.loads(cloudpickle.dumps(error)),
    *(
        lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_copy_and_pickle_whole(error: TinkerError) -> None:
    for duplicate in DUPLICATES:
        copied = duplicate(error)
        assert type(copied) is type(error)
        assert (str(copied), copied.args, repr(copied)) == (str(error), error.args, repr(error))
        assert vars(copied) == vars(error)


def test_notes_survive_pickling() -> None:
    error = SidecarDiedError("gone")
    error.add_note("its last words")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["its last words"]


@pytest.mark.parametrize("cls", CLASSES)
def test_failures_become_errors_by_name(cls: type[TinkerError]) -> None:
    failure = Failure(cls.__name__, "went wrong", 499, {"detail": 1}, "r-1", "server")
    error = from_failure(failure)
    assert type(error) is cls
    assert str(error) == "went wrong"
    expected: dict[str, Any] = {"message": "went wrong"}
    if issubclass(cls, APIError):
        expected |= {"body": {"detail": 1}, "request_id": "r-1"}
    if issubclass(cls, APIStatusError | APIResponseValidationError):
        expected |= {"status_code": 499}
    if issubclass(cls, RequestFailedError):
        expected |= {"request_id": "r-1", "category": RequestErrorCategory.Server}
    assert vars(error) == expected


@pytest.mark.parametrize("cls", CLASSES)
def test_a_bare_failure_is_enough(cls: type[TinkerError]) -> None:
    error = from_failure(Failure(cls.__name__, "went wrong"))
    assert type(error) is cls
    assert getattr(error, "status_code", None) == getattr(cls, "status_code", None)


@pytest.mark.parametrize("kind", ["", "NewerError", "SystemExit", "OddError", "os.system", "__import__"])
def test_any_other_kind_is_a_tinker_error(kind: str) -> None:
    error = from_failure(Failure(kind, "went wrong"))
    assert type(error) is TinkerError
    assert str(error) == "went wrong"


def test_every_sidecar_error_is_one() -> None:
    assert all(issubclass(cls, SidecarError) for cls in CLASSES if cls.__name__.startswith("Sidecar"))
