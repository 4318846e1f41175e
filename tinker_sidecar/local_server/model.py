"""The one model a server serves: an engine, and how it is described to users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.responses import HttpError

if TYPE_CHECKING:
    from tinker_sidecar.local_server.engines import GenerationEngine, Refusal

__all__ = ["ServedModel"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What the routes need to know of the model."""

    engine: GenerationEngine
    label: str
    """Names the engine in a line of log, and a simulation a simulation."""
    description: str
    placeholder_token: int | None
    """Stands for each token of an image or sound; None where only text is understood."""
    other_names: tuple[str, ...] = ()
    """Base models that clients may name beside the engine's own."""
    refusal: Callable[[], Refusal | None] = lambda: None
    """Why the engine takes nothing more for now, if so. What it has taken already it goes on with."""

    @property
    def names(self) -> tuple[str, ...]:
        """All base models that clients may name."""
        return self.engine.base_model, *self.other_names

    def check_name(self, base_model: str) -> None:
        """Raise HttpError 404 unless this is the model called `base_model`."""
        if base_model not in self.names:
            served = " and ".join(map(repr, self.names))
            raise HttpError(404, f"base model {base_model!r} is not served here; this server has {served}")
