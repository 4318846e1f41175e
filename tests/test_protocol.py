"""Every message survives the socket, and arrays of bytes are no message by accident."""

from __future__ import annotations

import contextlib
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import wait_until
from tinker_client import ModelInput, SamplingParams, ServiceClient
from tinker_client.connection.backends import get_backend
from tinker_client.local_server import LocalServer
from tinker_sidecar.ipc import protocol
from tinker_sidecar.ipc.protocol import Ack, Batch, Message, PackedTensor, PackedText, SampleResult

_SCALARS: dict[object, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=8),
    bytes: st.binary(max_size=8),
    memoryview: st.binary(max_size=8).map(memoryview),
    type(None): st.none(),
    Any: st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=4),
        lambda values: (
            st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=4), values, max_size=2)
        ),
        max_leaves=4,
    ),
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, structs within structs included."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if origin is dict:
        return st.dictionaries(*map(values_of, arguments), max_size=3)
    assert issubclass(annotation, msgspec.Struct), annotation
    fields = typing.get_type_hints(annotation)
    return st.builds(annotation, *(values_of(fields[name]) for name in annotation.__struct_fields__))


MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a frame may raise, and the daemon must expect."""

MESSAGES = typing.get_args(Message)
STRUCTS = [
    getattr(protocol, name)
    for name in protocol.__all__
    if isinstance(getattr(protocol, name), type) and issubclass(getattr(protocol, name), msgspec.Struct)
]


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_each_comes_back_as_it_was(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    sent = data.draw(values_of(kind))
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=kind)
    assert received == sent
    assert type(received) is kind


@given(values_of(Message))
def test_a_message_is_told_from_the_others(sent: Message) -> None:
    received: Message = msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Message)
    assert type(received) is type(sent)
    assert received == sent


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_an_older_reader_ignores_what_was_appended(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    sent = data.draw(values_of(kind))
    fields: list[Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(sent))
    newer = msgspec.msgpack.encode([*fields, {"a field": "of the future"}])
    assert msgspec.msgpack.decode(newer, type=kind) == sent


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_an_error(frame: bytes) -> None:
    with contextlib.suppress(*MALFORMED):
        assert isinstance(msgspec.msgpack.decode(frame, type=Message), MESSAGES)


@given(values_of(Message), st.data())
def test_a_damaged_message_is_a_message_or_an_error(sent: Message, data: st.DataObject) -> None:
    frame = bytearray(msgspec.msgpack.encode(sent))
    position = data.draw(st.integers(0, len(frame) - 1))
    if data.draw(st.booleans()):
        frame[position] = data.draw(st.integers(0, 255))
    else:
        del frame[position:]
    with contextlib.suppress(*MALFORMED):
        assert isinstance(msgspec.msgpack.decode(bytes(frame), type=Message), MESSAGES)


FRAMES = {
    "nothing": b"",
    "no message": b"\xc1",
    "of an unknown kind": b"\x92\xa4nack\x05",
    "cut short": b"\x92\xa3ack",
    "text that is not UTF-8": b"\x92\xa3\xff\xfe\xfd\x05",
    "bottomless": b"\x91" * 100_000,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_malformed_frame_harms_nobody(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, frame: bytes
) -> None:
    """The sidecar says so, and goes on with what comes behind it in the same queue."""
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")
    prompt, params = ModelInput.from_ints([1]), SamplingParams(max_tokens=2)
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        host: Any = get_backend(sidecar=True)._host
        pid = host.pid
        for _ in range(3):
            host._channel._requests.send(frame)
        futures = [client.sample(prompt, 1, params) for _ in range(5)]
        assert all(future.result(20).sequences[0].tokens for future in futures)
        assert host.pid == pid
    wait_until(lambda: "malformed message" in caplog.text)


def test_arrays_are_views_over_the_frame() -> None:
    """Decoding copies no tokens."""
    frame = msgspec.msgpack.encode(PackedText(memoryview(bytes(4096))))
    tokens = msgspec.msgpack.decode(frame, type=PackedText).tokens
    assert tokens.obj is frame
    assert len(frame) - 4096 < 32


def test_how_messages_look_on_the_wire() -> None:
    """Pinned: both ends come from one installation, but a frame's cost must not creep up."""
    assert msgspec.msgpack.encode(Ack(5)) == b"\x93\xa3ack\x05\xc2"
    empty = Batch(1, [], [], [], [], [])
    assert len(msgspec.msgpack.encode(empty)) < 16
    result = SampleResult([], target_prompt_logprobs=PackedTensor("int64", [1], memoryview(bytes(8))))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(result))[4][:3] == ["int64", [1], bytes(8)]


def test_the_key_is_not_in_a_repr() -> None:
    config = protocol.ServiceConfig(
        **{
            name: {"base_url": "http://x", "api_key": "tml-secret", "telemetry": False}.get(name)
            for name in protocol.ServiceConfig.__struct_fields__
        }  # type: ignore[arg-type]
    )
    assert "secret" not in repr(protocol.OpenSession(1, 1, config, None))
