"""Processes inside vfork whose children sleep instead of calling exec.

    python -m tests.live.workloads.sleeping_vforks --processes 12

Ready: ``pid`` and ``children``, the children that sleep. They end with their parents,
at the end of stdin.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import NoReturn

from tests.live.workloads.talk import obey, say

_CLONE_VM, _CLONE_VFORK = 0x100, 0x4000
_STACK = 1 << 16
_SECONDS = 100_000


def vfork_and_sleep() -> NoReturn:
    """Call vfork, by the means that libc gives to it, with sleep() in the child."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        stack = ctypes.create_string_buffer(_STACK)
        top = (ctypes.addressof(stack) + _STACK) & ~15
        flags = _CLONE_VM | _CLONE_VFORK | signal.SIGCHLD
        libc.clone(libc.sleep, ctypes.c_void_p(top), flags, ctypes.c_long(_SECONDS))
    finally:
        os._exit(1)


def child_of(pid: int) -> int:
    """Wait for the child of a process and return its pid."""
    while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text()):
        time.sleep(0.01)
    return int(found)


def main() -> None:
    """Start them, say so, and wait for the end of stdin."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=12)
    options = parser.parse_args()
    parents = []
    for _ in range(options.processes):
        pid = os.fork()
        if pid == 0:
            vfork_and_sleep()
        parents.append(pid)
    children = [child_of(pid) for pid in parents]
    say({"pid": os.getpid(), "children": children})
    obey({}, now=False)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in parents:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
