"""Work in a child: what it made comes back, and so does what went wrong."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from typing import NoReturn

import pytest

from forktrace.errors import ForktraceError, Unsupported
from forktrace.tracer import child
from forktrace.tracer.child import in_child, receive


def test_a_result_comes_back_with_its_descriptors() -> None:
    def work() -> tuple[int, list[int]]:
        ours, theirs = os.pipe()
        os.write(theirs, b"from the child")
        return os.getpid(), [ours]

    pid, (fd,) = in_child(work)
    assert pid != os.getpid()
    assert os.read(fd, 99) == b"from the child"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_descriptors_beyond_the_limit_are_an_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    with ours, theirs:
        socket.send_fds(theirs, [b"two"], [0, 1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
        try:
            with pytest.raises(OSError, match="Too many open files") as caught:
                receive(ours, 16, 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert caught.value.errno == errno.EMFILE
        assert os.dup(0) == free, "the first one is still open"
        os.close(free)


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


WAITS = """
import os, time
from forktrace.tracer.child import in_child

def work():
    os.write(out, f"{os.getppid()}\\n".encode())
    time.sleep(600)

out = os.dup(1)
in_child(work)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_and_the_work_at_once(number: int) -> None:
    waits = subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert waits.stdout
    assert int(waits.stdout.readline()) == waits.pid
    waits.send_signal(number)
    # Ends when the last holder of the pipe has ended, and that is the worker.
    waits.communicate(timeout=300)
    assert waits.returncode == -number
