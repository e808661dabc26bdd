"""The hand-over by exec: what one nmond writes the next reads, and anything else is refused."""

import os

import msgpack
import pytest

from ha.node import handover


def test_what_was_written_is_read() -> None:
    data = {"a": 1, "b": [1.5, None, "x", True], "c": {"d": b"\x00"}, "e": {}}
    fd = handover.write(data)
    try:
        assert handover.read(fd) == data
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def raw(content: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"something else",
        b"ezha hand-over\n",
        b"ezha hand-over\n\xc1",
        b"ezha hand-over\n" + msgpack.packb([1, 2]),
        b"ezha hand-over\n" + msgpack.packb({"version": handover.VERSION + 1, "data": {}}),
        b"ezha hand-over\n" + msgpack.packb({"version": handover.VERSION, "data": [1]}),
        (b"ezha hand-over\n" + msgpack.packb({"version": handover.VERSION, "data": {"a": 1}}))[:-1],
    ],
)
def test_what_is_not_understood_is_refused(content: bytes) -> None:
    fd = raw(content)
    try:
        with pytest.raises(handover.HandoverError):
            handover.read(fd)
    finally:
        os.close(fd)


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    fd = raw(b"x")
    os.close(fd)
    with pytest.raises(handover.HandoverError):
        handover.read(fd)


def test_what_is_not_plain_data_cannot_be_written() -> None:
    with pytest.raises(handover.HandoverError):
        handover.write({"a": object()})


def test_an_exec_that_fails_leaves_descriptors_as_they_were() -> None:
    fd = handover.write({})
    try:
        with pytest.raises(OSError, match="nonexistent"):
            handover.execute(fd, (), ["/nonexistent/program"], {})
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("text", "fd"), [("5", 5), ("", -1), ("2", -1), ("x", -1), ("-7", -1), ("²", -1)])
def test_the_variable_is_taken_out_of_the_environment(text: str, fd: int) -> None:
    environ = {handover.VARIABLE: text, "A": "b"}
    assert handover.inherited(environ) == fd
    assert environ == {"A": "b"}
