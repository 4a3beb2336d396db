"""Do a piece of work in a short-lived child: its result comes back, its memory goes.

LLVM, the emulator and the kernel's BTF take some 90 MB, which Python never gives
back. File descriptors that the work opened come over a Unix socket.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TypeVar

from forktrace import patience, privileges
from forktrace.errors import SHORT_OF, ForktraceError

Result = TypeVar("Result")
Work = Callable[[], "tuple[Result, Sequence[int]]"]

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_MAX_FDS = 64
_MAX_BYTES = 1 << 17


def in_child(work: Work[Result]) -> tuple[Result, list[int]]:
    """Return what ``work`` returns: a result that can be pickled, and descriptors.

    A ForktraceError of the work is raised here, and what it wrote to stdout and stderr
    (a compiler's or the verifier's log) is the error's details.
    """
    ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = os.memfd_create("forktrace-log")
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    # Python runs hooks after a fork, and drops what a signal's handler raises in them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    pid = os.fork()
    if pid == 0:
        _child(parent, childs, log, before, work)
    childs.close()
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        patience.wait(ours, "compiling the BPF program")
        message, fds = receive(ours, _MAX_BYTES, _MAX_FDS)
    except BaseException:
        # Ctrl-C, say: nobody waits for the work any more.
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        ours.close()
        os.waitpid(pid, 0)
        written = os.pread(log, 1 << 20, 0).decode(errors="replace")
        os.close(log)
    if not message:
        raise _for_now(
            ForktraceError(
                "The process that compiles the BPF program died.",
                "Run with --debug to see what it wrote.",
                details=written,
            )
        )
    answer = pickle.loads(message)
    if isinstance(answer, ForktraceError):
        answer.details = answer.details or written
        raise _for_now(answer)
    return answer, fds


def _for_now(error: ForktraceError) -> ForktraceError:
    """Return an error of this moment where something had run out.

    A library tells that in its log only, and with the error of what failed for it.
    """
    for number, advice in SHORT_OF.items():
        reason, message = os.strerror(number), error.message
        if reason in f"{message} {error.details}":
            if reason not in message:
                message = f"{message.rstrip('.')} ({reason})."
            return ForktraceError(message, advice, details=error.details)
    return error


def receive(ours: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Return a message and its descriptors, which no program inherits by exec.

    Raises OSError when there is no room for all descriptors.
    """
    message, received, flags, _ = socket.recv_fds(ours, size, most)
    fds = list(received)
    for fd in fds:
        os.set_inheritable(fd, False)
    if flags & socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return message, fds


def _child(
    parent: int,
    reply: socket.socket,
    log: int,
    signals: Iterable[int],
    work: Work[Result],
) -> NoReturn:
    """Work, send what came of it, and end, whatever happens."""
    try:
        privileges.end_with_parent(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            answer, fds = work()
            message = pickle.dumps(answer)
        except ForktraceError as error:
            message, fds = pickle.dumps(error), ()
        sys.stdout.flush()
        socket.send_fds(reply, [message], list(fds))
    except BaseException as error:
        os.write(log, f"{type(error).__name__}: {error}\n".encode())
    finally:
        # Nobody may be there any more to hear it; never run on as a second parent.
        os._exit(0)
