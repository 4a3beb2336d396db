"""A userfaultfd on a range, and the process that answers its fork events.

The names and numbers are those of include/uapi/linux/userfaultfd.h.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
from contextlib import ExitStack
from typing import NoReturn

from forktrace.kernel.abi import syscall

EVENT_FORK = 1 << 1
WP_HUGETLBFS_SHMEM = 1 << 12
"""Write protection of shared memory too, since 5.19; before, of anonymous memory."""

RWP = 1 << 17
MODE_MISSING = 1 << 0
MODE_WP = 1 << 1
MODE_RWP = 1 << 3

_UFFD_API = 0xAA
_UFFDIO_API = 0xC018AA3F
_UFFDIO_REGISTER = 0xC020AA00
_MESSAGE = struct.Struct("=B7xI12x8x")  # event; the new descriptor of a fork event
_UFFD_EVENT_FORK = 0x13


def supported_features() -> int:
    """Return the features of this kernel's userfaultfd. Raises OSError."""
    fd, features = _open(0)
    os.close(fd)
    return features


def register(
    start: int, length: int, *, mode: int, features: int, cleanup: ExitStack
) -> None:
    """Register a range until ``cleanup``; with EVENT_FORK, answer the fork events.

    Raises OSError: EINVAL if the kernel does not know a feature or cannot register such
    a mapping, EPERM if it does not let us (EVENT_FORK needs CAP_SYS_PTRACE).
    """
    fd, _ = _open(features)
    cleanup.callback(os.close, fd)
    if features & EVENT_FORK:
        _answer_forks(fd, cleanup)
    _watch(fd, start, length, mode)


def register_unanswered(start: int, length: int) -> int:
    """Register a range, and return the descriptor from which fork events can be read.

    Until that is done, a fork of this process does not return. Raises OSError.
    """
    fd, _ = _open(EVENT_FORK)
    _watch(fd, start, length, MODE_MISSING)
    return fd


def answer_fork(fd: int) -> int:
    """Read one event, so that the fork goes on; return the child's descriptor."""
    _, child = _MESSAGE.unpack(os.read(fd, _MESSAGE.size))
    return int(child)


def _watch(fd: int, start: int, length: int, mode: int) -> None:
    fcntl.ioctl(fd, _UFFDIO_REGISTER, struct.pack("=4Q", start, length, mode, 0))


def _open(features: int) -> tuple[int, int]:
    fd = syscall("userfaultfd", os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        api = fcntl.ioctl(fd, _UFFDIO_API, struct.pack("=3Q", _UFFD_API, features, 0))
    except OSError:
        os.close(fd)
        raise
    return fd, struct.unpack("=3Q", api)[1]


def _answer_forks(fd: int, cleanup: ExitStack) -> None:
    """Start the reader of ``fd``, which ends when ``cleanup`` or this process does.

    fork() of a process that asked for fork events blocks until each was read. A Python
    thread cannot be the reader: os.fork() keeps the interpreter's lock, and a reader
    that waits for that lock between two events would stop the fork for ever.
    """
    done, until = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(until)
        _read_events(fd, done)
    os.close(done)
    cleanup.callback(os.waitpid, pid, 0)
    cleanup.callback(os.close, until)


def _read_events(fd: int, done: int) -> NoReturn:
    """Read events until the other end of ``done`` is closed.

    The descriptor of the newest child is kept, because closing it takes the bits off
    that child's VMAs, and someone may want to look at them.
    """
    newest = -1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(done, select.POLLIN)
        while all(ready != done for ready, _ in poll.poll()):
            event, child = _MESSAGE.unpack(os.read(fd, _MESSAGE.size))
            if event == _UFFD_EVENT_FORK:
                if newest >= 0:
                    os.close(newest)
                newest = child
    finally:
        os._exit(0)
