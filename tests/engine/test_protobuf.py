"""Our reading of protobuf is that of Google's library, also where encoders differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinker_sidecar.engine.protobuf import Message
from tinker_sidecar.proto import sample_response_pb2 as pb

int32s = st.integers(-(2**31), 2**31 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)

tensors = st.builds(
    pb.Tensor,
    dense=st.binary(max_size=300),
    dtype=st.integers(0, 4),
    shape=st.lists(int64s, max_size=5),
)
sequences = st.builds(
    pb.SampledSequence,
    stop_reason=int32s,
    tokens=st.binary(max_size=300),
    logprobs=st.none() | st.binary(max_size=5),
)
responses = st.builds(
    pb.SampleResponse,
    sequences=st.lists(sequences, max_size=3),
    prompt_logprobs=st.none() | st.binary(max_size=20_000),
    prompt_cache_hit_tokens=int32s,
    target_prompt_logprobs=st.none() | tensors,
)

UNKNOWN = [b"", b"\xf8\x7f\x96\x01", b"\xf9\x7f12345678", b"\xfa\x7f\x03abc", b"\xfd\x7f1234"]
"""Fields of the future: nothing, and number 2047 in each wire type."""


def read(content: bytes) -> Message:
    return Message(memoryview(content))


def assert_read_alike(content: bytes) -> None:
    ours, theirs = read(content), pb.SampleResponse.FromString(content)
    assert len(ours.messages(1)) == len(theirs.sequences)
    for own, sequence in zip(ours.messages(1), theirs.sequences, strict=True):
        assert own.integer(1) == sequence.stop_reason
        assert own.data(2) == sequence.tokens
        assert own.data(3) == sequence.logprobs
        assert (3 in own.fields) == sequence.HasField("logprobs")
    assert ours.data(2) == theirs.prompt_logprobs
    assert (2 in ours.fields) == theirs.HasField("prompt_logprobs")
    assert ours.integer(4) == theirs.prompt_cache_hit_tokens
    tensor = ours.message(5)
    assert tensor.data(1) == theirs.target_prompt_logprobs.dense
    assert tensor.integer(3) == theirs.target_prompt_logprobs.dtype
    assert tensor.integers(4) == list(theirs.target_prompt_logprobs.shape)


@given(responses, responses, st.sampled_from(UNKNOWN))
def test_what_is_sent_in_two_parts(
    first: pb.SampleResponse, second: pb.SampleResponse, between: bytes
) -> None:
    assert_read_alike(first.SerializeToString() + between + second.SerializeToString())


@given(st.lists(st.integers(0, 127), max_size=5))
def test_an_unpacked_list(shape: list[int]) -> None:
    tensor = b"".join(bytes([0x20, one]) for one in shape)
    assert_read_alike(bytes([0x2A, len(tensor)]) + tensor)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x12", id="no length"),
        pytest.param(b"\x12\x05abc", id="cut short"),
        pytest.param(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", id="longer than there is memory"),
        pytest.param(b"\x20", id="no number"),
        pytest.param(b"\x20" + b"\x80" * 10 + b"\x01", id="a number without end"),
        pytest.param(b"\x21abc", id="a fixed number cut short"),
        pytest.param(b"\x02\x00", id="field 0"),
        pytest.param(b"\x80\x80\x80\x80\x10\x00", id="field 2**29"),
        pytest.param(b"\x07", id="an unknown wire type"),
    ],
)
def test_what_is_refused(content: bytes) -> None:
    with pytest.raises(Exception, match="Error parsing message"):
        pb.SampleResponse.FromString(content)
    with pytest.raises(ValueError, match=r"message|field|number"):
        read(content)


def test_a_field_of_another_type() -> None:
    """Google's library takes it for unknown; to us it is an error, since something is meant by it."""
    with pytest.raises(ValueError, match="bytes where an integer belongs"):
        read(b"\x22\x01a").integer(4)
    with pytest.raises(ValueError, match="an integer where bytes belong"):
        read(b"\x10\x01").data(2)
