"""The engine in a sidecar, of this process's own or shared with others."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tinker_client.connection.channel import Channel
from tinker_client.connection.inspecting import ask_for_traffic, traffic_of
from tinker_client.errors import SidecarDiedError, SidecarError, SidecarIPCError, SidecarStartupError
from tinker_sidecar.system import permit_looks

if TYPE_CHECKING:
    from tinker_client.connection.backend import Backend
    from tinker_client.connection.shared_sidecar import SharedSidecar
    from tinker_client.connection.sidecar_process import SidecarProcess
    from tinker_client.futures import InterruptibleFuture

__all__ = ["SidecarHost"]


class SidecarHost:
    """The channel to a sidecar. Raises `SidecarStartupError` when it does not come up."""

    def __init__(self, backend: Backend, process: SidecarProcess | SharedSidecar) -> None:
        self._backend = backend
        self._process = process
        self._traffic: InterruptibleFuture[Any] | None = None
        """What went through it, asked when it was found unused."""
        if backend.watching.who:
            permit_looks(self._process.pid)
        try:
            self._channel = Channel(
                pid=self._process.pid,
                folder=self._process.folder,
                secret=self._process.secret,
                exit_fd=self._process.exit_fd,
                deliver=backend.deliver,
                closed=self._closed,
                give_up=self._process.end,
                look=self._end_if_unused,
            )
        except BaseException as error:
            self._process.close()
            if isinstance(error, Exception):
                raise SidecarStartupError(f"cannot connect to the sidecar: {error}") from error
            raise
        # Attributes instead of methods that call them, since every request passes here.
        self.send = self.note = self._channel.send
        self.wait = self._channel.wait
        self.read_on = self._channel.read_on

    @property
    def pid(self) -> int:
        """The sidecar's process id."""
        return self._process.pid

    def end(self) -> None:
        """Have it end; its receiving thread tidies up behind it."""
        self._process.end()

    def close(self) -> None:
        """End the process and wait until its sockets are freed."""
        self.end()
        self._channel.join()

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's."""
        self._process.abandon()

    # On the receiving thread

    def _end_if_unused(self) -> bool:
        traffic = self._traffic
        if not self._backend.is_unused():
            self._traffic = None
        elif traffic is None:
            with contextlib.suppress(SidecarError):  # It is being closed.
                self._traffic = ask_for_traffic(self._backend)
        elif traffic.done() and traffic.exception() is None:
            is_over = self._backend.retire(self, traffic_of(traffic.result()))
            if is_over:
                self.end()
            return is_over
        return False

    def _closed(self, error: SidecarIPCError | None) -> None:
        self._backend.died(self, error or SidecarDiedError(self._process.describe_exit()))
        self._process.close()
