"""From what the command line says to the model that is served. An engine is imported when it is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tinker_sidecar.local_server.engines import UnavailableEngineError
from tinker_sidecar.local_server.model import ServedModel
from tinker_sidecar.needs import exit_if_missing

__all__ = ["EngineOptions", "open_model", "unfit_option"]

_NAMES = "tiny, sim, replay, transformers, vllm, sglang and tinker, or package.module:Class"


_OF_ENGINES = (
    (("replay",), ("from_", "recorded_latency", "fallback")),
    (("sim",), ("latency", "jitter", "tokens_per_second", "fail_token")),
    (("tinker", "vllm", "sglang"), ("upstream",)),
    (("transformers", "vllm", "sglang"), ("adapters",)),
    (("transformers",), ("model", "dtype", "device")),
)
"""Which engines have what options."""

_OF_TINKER = ("host", "port", "engine", "upstream", "record", "record_max_bytes", "api_key", "parent")
"""All else is for the server behind it to say."""


def unfit_option(given: Iterable[str], engine: str, fallback: str | None) -> str | None:
    """What is wrong with the options `given`, if there is one that nobody would look at."""
    for name in given:
        option = f"--{name.rstrip('_').replace('_', '-')}"
        for engines, names in _OF_ENGINES:
            if name in names and engine not in engines and fallback not in engines:
                return f"{option} needs --engine {' or '.join(engines)}"
        if engine == "tinker" and name not in _OF_TINKER:
            return f"{option} does nothing with --engine tinker, where the server behind it does all of that"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """All that any of the engines can be told. Times are seconds."""

    latency: float = 0.05
    jitter: float = 0.0
    tokens_per_second: float = 0.0
    fail_token: int | None = None
    recording: Path | None = None
    recorded_latency: bool = False
    fallback: str | None = None
    upstream: str | None = None
    model: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    adapters: Path | None = None


def open_model(name: str, options: EngineOptions) -> ServedModel:
    """The engine called `name`, or whose class is called that, ready to be served.

    Raises `UnavailableEngineError`.
    """
    if name == "tiny":
        return _tiny()
    if name == "sim":
        return _sim(options)
    if name == "replay":
        return _replay(options)
    if name in ("vllm", "sglang"):
        return _upstream(name, options)
    if name == "transformers":
        return _transformers(options)
    if ":" in name:
        return _loaded(name)
    raise UnavailableEngineError(f"there is no engine {name!r}: it is one of {_NAMES}")


def _tiny() -> ServedModel:
    with exit_if_missing("the engine tiny", "tinker-sidecar"):
        from tinker_sidecar.local_server.engines.tiny.engine import TinyEngine

    return ServedModel(
        engine=TinyEngine(),
        label="tiny, a small language model",
        description="tiny is a small language model for tests and demonstrations",
        placeholder_token=None,
    )


def _sim(options: EngineOptions) -> ServedModel:
    from tinker_sidecar.local_server.engines.sim import SimEngine

    return ServedModel(
        engine=SimEngine(options.latency, options.jitter, options.tokens_per_second, options.fail_token),
        label="sim, a simulation",
        description="sim is a simulation: deterministic pseudo-tokens, no model",
        placeholder_token=0,
    )


def _replay(options: EngineOptions) -> ServedModel:
    from tinker_sidecar.local_server.engines.replay import ReplayEngine
    from tinker_sidecar.recording.database import RecordingError

    if options.recording is None:
        raise UnavailableEngineError("--engine replay needs --from DIR, a folder that was recorded to")
    if options.fallback == "replay":
        raise UnavailableEngineError("--fallback must be another engine than replay")
    fallback = None if options.fallback is None else open_model(options.fallback, options)
    try:
        engine = ReplayEngine(
            options.recording,
            recorded_latency=options.recorded_latency,
            fallback=fallback.engine if fallback else None,
        )
    except RecordingError as error:
        raise UnavailableEngineError(str(error)) from error
    otherwise = f", otherwise {fallback.label}" if fallback else ""
    return ServedModel(
        engine=engine,
        label=f"replay of {options.recording}{otherwise}",
        description="replay answers with what was recorded of this model",
        placeholder_token=0,
        other_names=engine.other_names,
    )


def _transformers(options: EngineOptions) -> ServedModel:
    with exit_if_missing("the engine transformers", "tinker-sidecar[hf]"):
        from tinker_sidecar.local_server.engines.hf.checkpoint import load_checkpoint
        from tinker_sidecar.local_server.engines.hf.engine import TransformersEngine

        if options.adapters is not None:
            from tinker_sidecar.local_server.engines.hf.adapters import Adapters

    if options.model is None:
        raise UnavailableEngineError("--engine transformers needs --model, a folder or a name on the hub")
    if options.adapters is not None and not options.adapters.is_dir():
        raise UnavailableEngineError(f"there is no folder of adapters {options.adapters}")
    checkpoint = load_checkpoint(options.model, options.dtype, options.device)
    adapters = None if options.adapters is None else Adapters(checkpoint.model, options.adapters)
    return ServedModel(
        engine=TransformersEngine(checkpoint, adapters),
        label=f"transformers with {checkpoint.name}, {checkpoint.dtype} on {checkpoint.device}",
        description=f"transformers has loaded {checkpoint.name}",
        placeholder_token=None,
    )


def _upstream(name: str, options: EngineOptions) -> ServedModel:
    from tinker_sidecar.local_server.engines.opening import open_upstream_engine

    engine, server, label = open_upstream_engine(name, options.upstream, options.adapters)
    return ServedModel(
        engine=engine,
        label=f"{label} at {server.place}, {engine.base_model}",
        description=f"served by {label}",
        placeholder_token=None,
        other_names=engine.other_names,
        refusal=lambda: server.refusal,
    )


def _loaded(name: str) -> ServedModel:
    from tinker_sidecar.local_server.engines.loading import load_engine

    return ServedModel(
        engine=load_engine(name),
        label=name,
        description=f"served by {name}",
        placeholder_token=None,
    )
