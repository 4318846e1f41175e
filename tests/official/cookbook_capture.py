"""tinker-cookbook's `capture` and tracing around the drop-in: `python cookbook_capture.py ORDER URL MODEL`.

ORDER says which of the two wraps the SDK's methods first. Prints who sampled, and what was recorded.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tinker
from tinker import types
from tinker_cookbook.capture import CaptureExporter, instrument_tinker, uninstrument_tinker
from tinker_cookbook.utils.trace import trace_init, trace_shutdown

import tinker_client

warnings.simplefilter("ignore")

ORDER, URL, MODEL = sys.argv[1:]
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)


class Records:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def export(self, records: Any, timeout: float | None = None) -> None:
        self.kept += records


async def asynchronously(client: Any) -> None:
    await client.sample_async(PROMPT, 1, PARAMS)
    await asyncio.gather(*(client.sample(PROMPT, 1, PARAMS) for _ in range(2)))


def sample(client: Any) -> str:
    """Four samples; by whom."""
    future = client.sample(PROMPT, 1, PARAMS)
    assert future.result(60).sequences[0].tokens
    asyncio.run(asynchronously(client))
    return type(future).__name__


def recorded(client: Any, exporter: CaptureExporter, sink: Records) -> list[Any]:
    """Who sampled, how many records that left, and of which outcome."""
    sink.kept.clear()
    who = sample(client)
    exporter.wait_pending(30)
    exporter.force_flush(30)
    return [who, len(sink.kept), sorted({record["status"] for record in sink.kept})]


def in_a_worker(client: Any) -> list[Any]:
    """What a worker does that instruments its own SDK; the client brings the drop-in along."""
    sink = Records()
    exporter = CaptureExporter(sink)
    instrument_tinker(exporter)
    told = recorded(client, exporter, sink)
    exporter.shutdown()
    return told


def main() -> None:
    created = tinker.ServiceClient(base_url=URL, api_key="tml-tests").create_sampling_client(base_model=MODEL)
    client = created.result() if isinstance(created, tinker.APIFuture) else created
    sink = Records()
    exporter = CaptureExporter(sink)

    with tempfile.TemporaryDirectory() as folder:
        if ORDER == "install first":
            tinker_client.install()
        trace_init(output_file=str(Path(folder) / "trace.jsonl"))
        instrument_tinker(exporter)
        if ORDER == "capture first":
            tinker_client.install()
        told = {"instrumented": recorded(client, exporter, sink)}
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            told["spawned"] = pool.apply(in_a_worker, (client,))
        tinker_client.uninstall()
        told["uninstalled"] = recorded(client, exporter, sink)
        tinker_client.install()
        uninstrument_tinker()
        told["uninstrumented"] = recorded(client, exporter, sink)
        trace_shutdown()
    exporter.shutdown()
    print(json.dumps(told | {"status": tinker_client.status()}))


if __name__ == "__main__":
    main()
