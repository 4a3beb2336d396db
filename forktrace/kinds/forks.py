"""Plain forks: no exec, no vfork, no threads, so every VMA meets copy_page_range()."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def fork_once() -> int:
    """Fork a child that exits at once, wait for it, and return its pid."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@contextmanager
def living_child() -> Iterator[int]:
    """Fork a child that does nothing, and give its pid while it lives.

    Its smaps, pagemap and VmPTE are what fork() gave it, but for the few pages of stack
    and interpreter that it touches on its way to sleep.
    """
    done, until = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(until)
            os.read(done, 1)
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.close(done)
        os.close(until)
        os.waitpid(pid, 0)
