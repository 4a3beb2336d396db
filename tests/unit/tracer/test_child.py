"""Work in a child: what it made comes back, and so does what went wrong."""

from __future__ import annotations

import errno
import io
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from typing import NoReturn

import pytest

from forktrace import patience
from forktrace.errors import EXIT_FAILED, ForktraceError, Unsupported
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


def test_work_may_take_long_and_that_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "FIRST_WORD_SECONDS", 0.05)
    ours, theirs = socket.socketpair()

    class Stderr(io.StringIO):
        """The work ends only when the third line about it has come."""

        def write(self, text: str) -> int:
            written = super().write(text)
            if self.getvalue().count("\n") == 3:
                theirs.send(b"!")
            return written

    def work() -> tuple[bytes, list[int]]:
        return ours.recv(1), []

    said = Stderr()
    monkeypatch.setattr(sys, "stderr", said)
    with ours, theirs:
        assert in_child(work) == (b"!", [])
    assert re.fullmatch(
        r"(forktrace: still compiling the BPF program after \d+ s; "
        r"this host is busy\.\n){3,}",
        said.getvalue(),
    )


def test_work_that_dies_ends_the_wait() -> None:
    def work() -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    with pytest.raises(ForktraceError, match="died"):
        in_child(work)


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


def test_work_that_dies_says_what_had_run_out() -> None:
    def work() -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with pytest.raises(ForktraceError, match=r"died \(Too many open") as caught:
        in_child(work)
    assert "ulimit -n" in caught.value.advice


def test_what_had_run_out_is_no_fault_of_the_kernel() -> None:
    def work() -> NoReturn:
        os.write(2, b"could not open bpf map: slots, error: Too many open files")
        raise Unsupported("The BPF program cannot be loaded: it failed.")

    with pytest.raises(ForktraceError, match=r"failed \(Too many open") as caught:
        in_child(work)
    assert caught.value.exit_status == EXIT_FAILED
    assert "ulimit -n" in caught.value.advice
