"""Large payloads of a batch, which the sidecar lends instead of sending: see `tinker_sidecar.ipc.lending`."""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from tinker_sidecar.ipc.protocol import Batch, Failure
from tinker_sidecar.system import borrow

__all__ = ["LentPayloads"]


class LentPayloads:
    """Borrows what process `pid` lends. Ctrl-C may interrupt it, and the batch then comes again.

    Whatever has been borrowed by then is kept until the batch is delivered.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._borrowed: dict[int, memoryview] = {}
        """By request."""

    def put_in(self, batch: Batch) -> Batch | None:
        """`batch` with the payloads that it lends, or None if they have to be sent.

        They have to be when this process is another user's since a `setuid`, or has no descriptor left. The
        sidecar may also have just died; then whoever replaces it is asked again. A request for which there is
        no memory fails.
        """
        answers: dict[int, Any] = dict(zip(batch.done, batch.payloads, strict=True))
        failed = list(batch.failed)
        for index, fd, size in batch.lent:
            request = batch.done[index]
            try:
                memory = self._borrowed.get(request)
                if memory is None:
                    memory = self._borrowed[request] = borrow(self._pid, fd, size)
                answers[request] = memory
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    return None
                del answers[request]
                failed.append((request, Failure("SidecarIPCError", f"cannot map a large result: {error}")))
        names = dict(zip(batch.done, batch.request_ids, strict=True))
        return msgspec.structs.replace(
            batch,
            done=list(answers),
            payloads=list(answers.values()),
            request_ids=[names[request] for request in answers],
            failed=failed,
        )

    def delivered(self) -> None:
        """The batch will not come again."""
        self._borrowed.clear()
