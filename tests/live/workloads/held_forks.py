"""Forks that do not end until they are let go: a userfaultfd holds them.

    python -m tests.live.workloads.held_forks --forks 200

``hold`` starts them, each in a process of its own, and answers ``held`` when all stand
still inside fork. ``release`` lets them go on and answers ``forks``, how many gave a
child, when all have ended.
"""

from __future__ import annotations

import argparse
import mmap
import os
import resource
import select
import socket
from typing import Any, NoReturn

from forktrace.kinds import fork_once, libc
from forktrace.kinds.userfaultfd import answer_fork, register_unanswered
from tests.live.workloads.talk import obey, say


def fork_held(parent: socket.socket) -> NoReturn:
    """Hand the descriptor of the events over to ``parent``, and fork."""
    status = 1
    try:
        size = mmap.PAGESIZE
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = libc.mmap(0, size, mmap.PROT_READ | mmap.PROT_WRITE, private)
        events = register_unanswered(memory, size)
        socket.send_fds(parent, [b"."], [events])
        fork_once()
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """Obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--forks", type=int, default=200)
    options = parser.parse_args()
    # For each fork the descriptor of its events, and later that of its child.
    many = 2 * options.forks + 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (many, many))
    pids: list[int] = []
    events: list[int] = []

    def hold() -> dict[str, Any]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for _ in range(options.forks):
            pid = os.fork()
            if pid == 0:
                fork_held(theirs)
            pids.append(pid)
            events.extend(socket.recv_fds(ours, 1, 1)[1])
        for fd in events:
            select.select([fd], [], [])
        return {"held": len(events)}

    def release() -> dict[str, Any]:
        children = [answer_fork(fd) for fd in events]
        ended = [os.waitpid(pid, 0)[1] for pid in pids]
        return {"forks": ended.count(0), "children": len(children)}

    say({"pid": os.getpid()})
    obey({"hold": hold, "release": release}, now=False)


if __name__ == "__main__":
    main()
