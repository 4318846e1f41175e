"""What is not installed is said in one line, with what to type, when it is asked for and not before.

Sampling itself needs few packages (`requirements-sampling.txt`). Whoever imports another one does so within
a function, and within one of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["exit_if_missing", "importing_for", "pip_install"]


@contextmanager
def importing_for(what: str, requirement: str) -> Iterator[None]:
    """Around imports that `what` needs and that `pip install "REQUIREMENT"` brings.

    Raises `ImportError`, in one line, where one of them fails.
    """
    try:
        yield
    except ImportError as error:
        reason = str(error).strip().partition("\n")[0]
        advice = f"{what} needs what cannot be imported here ({reason}): {pip_install(requirement)}"
        raise ImportError(advice, name=error.name) from error


@contextmanager
def exit_if_missing(what: str, requirement: str) -> Iterator[None]:
    """The same for a command, which ends with that line and status 1."""
    try:
        with importing_for(what, requirement):
            yield
    except ImportError as error:
        raise SystemExit(str(error)) from None


def pip_install(requirement: str) -> str:
    """What to type.

    For this package's own name no index is asked: pip takes the one that is installed and adds what it lacks.
    """
    return f'pip install "{requirement}"'
