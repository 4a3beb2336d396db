"""Work in a child: what it made comes back, and so does what went wrong."""

from __future__ import annotations

import os
import socket
import time
from typing import NoReturn

import pytest

from forktrace.errors import ForktraceError, Unsupported
from forktrace.tracer import child
from forktrace.tracer.child import in_child


def test_a_result_comes_back_with_its_descriptors() -> None:
    def work() -> tuple[int, list[int]]:
        ours, theirs = os.pipe()
        os.write(theirs, b"from the child")
        return os.getpid(), [ours]

    pid, (fd,) = in_child(work)
    assert pid != os.getpid()
    assert os.read(fd, 99) == b"from the child"
    os.close(fd)


def test_an_error_comes_back_with_what_was_written() -> None:
    def work() -> NoReturn:
        os.write(2, b"the compiler's log")
        raise Unsupported("no.")

    with pytest.raises(Unsupported, match="no") as caught:
        in_child(work)
    assert caught.value.details == "the compiler's log"


def hang() -> NoReturn:
    time.sleep(60)
    raise AssertionError


def test_work_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "SECONDS", 0.1)
    with pytest.raises(ForktraceError, match="took more than"):
        in_child(hang)


def test_work_that_hangs_is_ended_on_python_3_9(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There socket.timeout is an OSError of its own, no TimeoutError."""

    class Timeout(OSError):
        pass

    def receive(*_: object) -> NoReturn:
        raise Timeout("timed out")

    monkeypatch.setattr(socket, "timeout", Timeout)
    monkeypatch.setattr(socket, "recv_fds", receive)
    with pytest.raises(ForktraceError, match="took more than"):
        in_child(hang)
