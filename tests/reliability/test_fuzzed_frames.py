"""What arrives as a batch or a greeting is one, or is refused; bytes of any kind come to no other end."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.damage import damaged
from tests.test_protocol import MALFORMED, values_of
from tinker_client import TinkerError
from tinker_client.errors import from_failure
from tinker_client.types import SampleResponse
from tinker_sidecar.ipc.handshake import Greeting, Hello
from tinker_sidecar.ipc.protocol import Batch, Failure, SampleResult

decode = msgspec.msgpack.Decoder(Batch).decode


def look_at(batch: Batch) -> None:
    """What the client does with a batch, without anybody waiting for what it answers."""
    for payload in batch.payloads:
        with contextlib.suppress(TinkerError):
            repr(SampleResponse.from_wire(payload))
    for _, failure in batch.failed:
        assert isinstance(from_failure(failure), TinkerError)


# Batches


@given(st.binary(max_size=100))
@example(b"")
@example(b"\x96\x01\x90\x90\x90\x90\x90")
@example(b"\x97\x01\x91\x01\x91\xc4\x00\x90\x90\x90\x91\x93\x00\x00\x00")
@example(b"\x96\x01\x91\xcf" + b"\xff" * 8 + b"\x91\xc4\x01\xc1\x90\x90\x90")
@example(b"\x91" * 100_000)
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
def test_any_bytes_are_a_batch_or_an_error(frame: bytes) -> None:
    with contextlib.suppress(*MALFORMED):
        look_at(decode(frame))


@given(values_of(Batch), st.data())
def test_a_damaged_batch_is_a_batch_or_an_error(sent: Batch, data: st.DataObject) -> None:
    frame = data.draw(damaged(msgspec.msgpack.encode(sent)))
    with contextlib.suppress(*MALFORMED):
        look_at(decode(frame))


# A result is not decoded before it is looked at, in the user's own call.


@given(st.binary(max_size=100))
@example(b"")
@example(b"\x91\x90")
@example(
    b"\x91\x91\x95\xa4stop\xa1x\xc4\x03abc\xc0\xc0"
)  # Three bytes of tokens: not a whole number of them.
@example(b"\x92\x90\xc4\x01a")
@example(b"\x93\x90\xc0\x93\x00\xc4\x04abcd\xc4\x04abcd")
@example(b"\x93\x90\xc0\x93\xff\xc4\x04abcd\xc4\x04abcd")
def test_any_bytes_are_a_result_or_one_clear_error(payload: bytes) -> None:
    look_at_result(payload)


@given(values_of(SampleResult))
def test_a_result_of_odd_arrays_is_readable_or_one_clear_error(result: SampleResult) -> None:
    """Every array is there, and none is of a length that fits."""
    look_at_result(msgspec.msgpack.encode(result))


def look_at_result(payload: bytes) -> None:
    response = SampleResponse.from_wire(payload)
    for name in ("prompt_logprobs", "topk_prompt_logprobs", "target_prompt_logprobs", "prompt_alt_tokens"):
        with contextlib.suppress(TinkerError):
            getattr(response, name)
    with contextlib.suppress(TinkerError):
        for sequence in response.sequences:
            for name in ("tokens", "logprobs", "topk_logprobs"):
                with contextlib.suppress(TinkerError):
                    getattr(sequence, name)


@given(values_of(Failure))
def test_any_failure_is_an_error_of_ours(failure: Failure) -> None:
    assert isinstance(from_failure(failure), TinkerError)


# The handshake


@pytest.mark.parametrize("shape", [Greeting, Hello], ids=["greeting", "hello"])
@given(line=st.binary(max_size=64))
@example(line=b"")
@example(line=b"null\n")
@example(line=b'{"error": 5}\n')
@example(line=b'{"error": "\xff"}\n')
@example(line=b"Python 3.11 says hello\n")
@example(line=b"[" * 100_000)
def test_any_line_is_a_handshake_or_an_error(shape: Any, line: bytes) -> None:
    with contextlib.suppress(*MALFORMED):
        assert isinstance(msgspec.json.decode(line, type=shape), shape)
