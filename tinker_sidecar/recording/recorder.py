"""Records what an engine samples, in whichever host it runs."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, time

from tinker_sidecar.engine.journey import FETCH, SERVER, SUBMIT, Journey
from tinker_sidecar.recording.record_writer import Record, RecordWriter

__all__ = ["Recorder"]


class Recorder:
    """Adds an engine's results to the recording in `folder`, as long as that has fewer than `max_bytes`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._writer = RecordWriter(folder, max_bytes)
        self._epoch = time() - monotonic()
        """When `monotonic` was 0. Fixed, so that what a program asks first is first in the recording, too."""

    def record(self, journey: Journey, base_model: str | None, result: bytes) -> None:
        """`result`, an encoded `SampleResult`, is that of the request on `journey`."""
        figures = journey.figures
        self._writer.add(
            Record(
                body=journey.spec.json(),
                model=base_model or "",
                asked=self._epoch + journey.began,
                took=figures[SUBMIT] + figures[SERVER] + figures[FETCH],
                origin=f"{journey.sampling_session_id} {journey.request_id}",
                result=result,
            )
        )

    def close(self) -> None:
        """Write what is there still."""
        self._writer.close()
