"""`/metrics` for Prometheus, at the address that `TINKER_SIDECAR_METRICS` names."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import os
from collections.abc import Callable

from tinker_sidecar.ipc.addresses import parse_address
from tinker_sidecar.ipc.stats import Stats
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.needs import importing_for
from tinker_sidecar.watch.http_server import SmallServer, listen

__all__ = ["MetricsServer", "serve_metrics"]

logger = engine_logger(__name__)

_PORTS = 100
"""How many are tried, from the one asked for upwards: each process of a program takes one."""
_PATIENCE = 5.0
"""Seconds that the engine gets to answer, which in process shares its GIL with the program."""


def serve_metrics(address: str, stats: Callable[[], Stats]) -> MetricsServer | None:
    """Serve the metrics of the engine on this event loop at `address`, which is `[HOST:]PORT`.

    `stats` is called on this loop whenever somebody asks. None, and one warning in the log, if it cannot be
    done: sampling goes on.
    """
    try:
        server = MetricsServer(*parse_address(address), stats)
    except ImportError as error:
        logger.warning("cannot serve metrics: %s. Sampling goes on", error)
    except (OSError, ValueError) as error:
        logger.warning("cannot serve metrics at %s: %s. Sampling goes on", address, error)
    else:
        # A turn later: who reads it may fork at once, and the caller must have the server by then.
        message = "metrics of process %d are at %s"
        asyncio.get_running_loop().call_soon(logger.info, message, os.getpid(), server.url)
        return server
    return None


class MetricsServer:
    """The metrics over HTTP, as long as this event loop runs or until they are closed.

    Raises
    ------
    ImportError
        There is no prometheus-client.
    OSError
        The address cannot be had, nor the next ports.
    """

    def __init__(self, host: str, port: int, stats: Callable[[], Stats]) -> None:
        with importing_for("the page of metrics", "tinker-sidecar[metrics]"):
            from prometheus_client import CollectorRegistry, ProcessCollector
            from prometheus_client.exposition import make_wsgi_app

            from tinker_sidecar.watch.collector import StatsCollector

        self._loop = asyncio.get_running_loop()
        self._stats = stats
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(StatsCollector(self._ask))
        self._server = _listen(host, port)
        self._server.set_app(make_wsgi_app(registry))
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}/metrics"
        """Where they are."""
        self._loop.add_reader(self._server.fileno(), self._server.handle_request)

    def close(self) -> None:
        """Stop, and give the port back."""
        self._loop.remove_reader(self._server.fileno())
        self._server.server_close()

    def abandon(self) -> None:
        """In a forked child: let go of the port, which is the parent's. The event loop is not touched."""
        self._server.server_close()

    def _ask(self) -> Stats | None:
        """What the engine says to another thread than its own; None: it does not answer."""
        answer: concurrent.futures.Future[Stats] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(self._tell, answer)
            return answer.result(_PATIENCE)
        except Exception:  # noqa: BLE001  # The loop is closed or busy, or it is the error that has been logged.
            answer.cancel()
            return None

    def _tell(self, answer: concurrent.futures.Future[Stats]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(self._stats())
        except Exception as error:
            logger.error("unexpected error in the metrics", exc_info=error)
            answer.set_exception(error)


def _listen(host: str, port: int) -> SmallServer:
    """At `port` or, if it is taken, at the next that is not."""
    last = min(port + _PORTS, 65536) - 1
    for candidate in range(port, last + 1):
        try:
            return listen(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"ports {port} to {last} are taken")
