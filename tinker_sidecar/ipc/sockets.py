"""ZeroMQ sockets whose operations never give up the GIL.

pyzmq releases the GIL around every send and receive. With other threads hungry for it, each release
costs a wait of up to one switch interval (5 ms) per hungry thread to get it back. A non-blocking
`zmq_send` or `zmq_msg_recv` takes a microsecond or two, so these call libzmq through `ctypes.PyDLL`,
which keeps the GIL. That also makes one socket safe to share between threads, as long as nothing
else touches it: the GIL is its lock. Waiting is done on the socket's descriptor, never on the socket.

This relies on an interpreter with a GIL (`tinker_client.interpreter` refuses others) and on libzmq's ABI;
tests/sidecar and tests/test_protocol.py fail where either is not given.
"""

from __future__ import annotations

import ctypes
import errno

import zmq
import zmq.backend.cython._zmq as _extension

__all__ = ["NO_LIMIT", "GilSocket"]

NO_LIMIT = 0
"""A high-water mark of none: what is in flight is bounded by credits, not by dropping or blocking."""

_NOT_A_SOCKET = zmq.ENOTSOCK
"""What a closed socket says: nobody is there either."""

_MSG_SIZE = 64  # sizeof(zmq_msg_t), fixed by libzmq's ABI.

# The extension links libzmq, so looking a symbol up in it finds the very library pyzmq uses.
_libzmq = ctypes.PyDLL(_extension.__file__)
_send = _libzmq.zmq_send
_send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
_msg_init = _libzmq.zmq_msg_init
_msg_recv = _libzmq.zmq_msg_recv
_msg_recv.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
_msg_data = _libzmq.zmq_msg_data
_msg_data.restype = ctypes.c_void_p
_msg_size = _libzmq.zmq_msg_size
_msg_size.restype = ctypes.c_size_t
_msg_close = _libzmq.zmq_msg_close
_errno = _libzmq.zmq_errno
_strerror = _libzmq.zmq_strerror
_strerror.restype = ctypes.c_char_p


class GilSocket:
    """Sends and receives single frames of bytes on `socket` without blocking or yielding the GIL."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._handle = ctypes.c_void_p(socket.underlying)
        self._message = ctypes.create_string_buffer(_MSG_SIZE)
        self.fd: int = socket.FD
        """Readable when `receive` may have something; edge-triggered: drain until it returns None."""

    def send(self, frame: bytes) -> bool:
        """Hand `frame` to libzmq's IO thread. False: nobody is connected to take it."""
        if _send(self._handle, frame, len(frame), zmq.NOBLOCK) >= 0:
            return True
        _raise_unless_again()
        return False

    def receive(self) -> bytes | None:
        """The next frame, or None when there is none for now."""
        message = ctypes.byref(self._message)
        _msg_init(message)
        try:
            if _msg_recv(message, self._handle, zmq.NOBLOCK) < 0:
                _raise_unless_again()
                return None
            return ctypes.string_at(_msg_data(message), _msg_size(message))
        finally:
            _msg_close(message)

    def close(self) -> None:
        """Close the socket at once, with what it has not sent."""
        # A call that comes too late then gets ENOTSOCK, instead of crashing.
        self._handle = ctypes.c_void_p(None)
        self._socket.close(linger=0)


def _raise_unless_again() -> None:
    number = _errno()
    if number not in (errno.EAGAIN, errno.EINTR, _NOT_A_SOCKET):
        raise OSError(number, _strerror(number).decode())
