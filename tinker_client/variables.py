"""The names of the variables that this project reads from the environment, and a word about misspelt ones."""

from __future__ import annotations

import logging
import os

__all__ = ["KNOWN", "warn_of_unknown_variables"]

_FAMILIES = ("TINKER_SIDECAR_", "TINKER_SUBPROCESS_")
"""What names of ours begin with. Others that begin with `TINKER_` may be the official SDK's."""

KNOWN = frozenset(
    {
        "TINKER_SIDECAR_GROUP",
        "TINKER_SIDECAR_LINGER",
        "TINKER_SIDECAR_LOCAL_ENGINE",
        "TINKER_SIDECAR_LOG",
        "TINKER_SIDECAR_LOG_INTERVAL",
        "TINKER_SIDECAR_MAX_PROMPT_BYTES",
        "TINKER_SIDECAR_MAX_REQUESTS",
        "TINKER_SIDECAR_METRICS",
        "TINKER_SIDECAR_PORTABLE",
        "TINKER_SIDECAR_RECORD",
        "TINKER_SIDECAR_RECORD_MAX_BYTES",
        "TINKER_SIDECAR_REQUIRE",
        "TINKER_SIDECAR_SERVE_API_KEY",
        "TINKER_SIDECAR_SWITCH_INTERVAL",
        "TINKER_SIDECAR_TRACE",
        "TINKER_SIDECAR_UPSTREAM_API_KEY",
        "TINKER_SIDECAR_WHO",
        "TINKER_SUBPROCESS_SAMPLING",
        # Of this project's own tests and tools.
        "TINKER_SIDECAR_COMPAT",
        "TINKER_SIDECAR_INTEROP_CACHE",
        "TINKER_SIDECAR_RAY",
        "TINKER_SIDECAR_VLLM",
    }
)

_logger = logging.getLogger("tinker_client")
_told: set[str] = set()


def warn_of_unknown_variables() -> None:
    """Log a warning of each variable that is named like one of ours and is none, once a process.

    A misspelt name would otherwise leave its setting as it is, and nobody would know.
    """
    named_like_ours = {name for name in os.environ if name.startswith(_FAMILIES)}
    for name in sorted(named_like_ours - KNOWN - _told):
        _told.add(name)
        _logger.warning("%s is set in the environment, and means nothing%s", name, _advice(name))


def _advice(name: str) -> str:
    from difflib import get_close_matches

    # What all have in common would make them all alike.
    known = {_own_part(known): known for known in KNOWN}
    alike = get_close_matches(_own_part(name), known, n=1)
    return f": did you mean {known[alike[0]]}?" if alike else ""


def _own_part(name: str) -> str:
    return name.split("_", 2)[2]
