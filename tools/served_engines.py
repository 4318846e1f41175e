"""The engines of the local server that the conformance suite and the table of features are run against.

`ENGINES` has one line for each. An engine that needs what not everybody has says by `missing` why it cannot
be served here: `make test` skips it with that reason, `pytest --engine NAME` fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.local_server.upstream import start_upstream
from tinker_client.local_server import start_local_server
from tinker_sidecar.local_server.engines import sim, tiny
from tools import vllm_cpu
from tools.tiny_for_transformers import random_adapter, save_tiny_model

__all__ = ["ADAPTER", "ENGINES", "EngineToTest", "Rehearse", "Serve", "Served"]


ADAPTER = "tinker://run-1/weights/7"


@dataclass(frozen=True)
class Served:
    """A server that is there, and its model."""

    base_url: str
    model: str
    adapter: str = ADAPTER
    """The path of an adapter, for engines that have adapters; empty if this one has none."""
    with_adapters: str | None = None
    """The address of another server that has `ADAPTER`, where this one cannot have it."""
    hottest: float = 50.0
    """The highest temperature that is asked for."""


Serve = Callable[[], Served]
"""Gives a server that has not been asked yet what is about to be asked, if that makes a difference."""
Rehearse = Callable[[Served], object]
"""Asks a server all that will be asked, for engines that must have heard it before."""


@dataclass(frozen=True)
class EngineToTest:
    """How to have one served; it is gone when the context is left."""

    serving: Callable[[Rehearse], AbstractContextManager[Serve]]
    missing: Callable[[], str | None] = lambda: None
    """Why it cannot be served here: one line; None if it can."""


@contextmanager
def _sim(rehearse: Rehearse) -> Iterator[Serve]:
    with closing(start_local_server("sim", "--latency", "0.01")) as server:
        yield lambda: Served(server.base_url, sim.BASE_MODEL)


@contextmanager
def _tiny(rehearse: Rehearse) -> Iterator[Serve]:
    with closing(start_local_server("tiny")) as server:
        yield lambda: Served(server.base_url, tiny.BASE_MODEL)


@contextmanager
def _replay(rehearse: Rehearse) -> Iterator[Serve]:
    """Of what `tiny` answers. Each server begins the recording anew."""
    with TemporaryDirectory(prefix="replay-") as name, ExitStack() as stack:
        folder = Path(name) / "recording"
        with closing(start_local_server("tiny", "--record", str(folder))) as server:
            rehearse(Served(server.base_url, tiny.BASE_MODEL))

        def serve() -> Served:
            server = start_local_server("replay", "--from", str(folder))
            stack.enter_context(closing(server))
            return Served(server.base_url, tiny.BASE_MODEL)

        yield serve


@contextmanager
def _transformers(rehearse: Rehearse) -> Iterator[Serve]:
    """With the tiny model's weights."""
    with TemporaryDirectory(prefix="transformers-") as name:
        folder = save_tiny_model(Path(name) / "model")
        adapters = Path(name) / "adapters"
        random_adapter(adapters / ADAPTER.removeprefix("tinker://"))
        options = (
            "--model",
            str(folder),
            "--adapters",
            str(adapters),
            "--device",
            "cpu",
        )
        with closing(start_local_server("transformers", *options)) as server:
            yield lambda: Served(server.base_url, str(folder))


def _why_no_transformers() -> str | None:
    missing = [name for name in ("torch", "peft") if find_spec(name) is None]
    return f"{missing[0]} is not installed: make engines does that" if missing else None


@contextmanager
def _vllm(rehearse: Rehearse) -> Iterator[Serve]:
    """A real vLLM on the CPU, and another with adapters: there, such a one cannot score prompts."""
    with TemporaryDirectory(prefix="vllm-") as name, ExitStack() as stack:
        adapters = Path(name) / "adapters"
        vllm_cpu.write_adapter(adapters / ADAPTER.removeprefix("tinker://"), vllm_cpu.QUERIES, 0.05)

        def started(*options: str) -> tuple[str, str]:
            log = Path(name) / f"log{len(options)}"
            vllm = stack.enter_context(vllm_cpu.Vllm(log, "--enable-scale-out", *options))
            server = start_local_server(
                "vllm", "--upstream", vllm.url, "--adapters", str(adapters), start_timeout=180
            )
            stack.enter_context(closing(server))
            return server.base_url, vllm.model

        base_url, model = started()
        with_adapters, _ = started("--enable-lora", "--max-lora-rank", "8")
        yield lambda: Served(base_url, model, "", with_adapters, hottest=2.0)


@contextmanager
def _sglang(rehearse: Rehearse) -> Iterator[Serve]:
    """In front of a stand-in, as SGLang itself needs a GPU."""
    flags = "deterministic", "ascii", f"model={tiny.BASE_MODEL}"
    with start_upstream("sglang", *flags) as upstream, TemporaryDirectory(prefix="sglang-") as adapters:
        options = "--upstream", upstream.url, "--adapters", adapters
        with closing(start_local_server("sglang", *options)) as server:
            yield lambda: Served(server.base_url, tiny.BASE_MODEL, hottest=2.0)


ENGINES = {
    "tiny": EngineToTest(_tiny),
    "sim": EngineToTest(_sim),
    "replay": EngineToTest(_replay),
    "transformers": EngineToTest(_transformers, _why_no_transformers),
    "vllm": EngineToTest(_vllm, vllm_cpu.why_missing),
    "sglang": EngineToTest(_sglang),
}
