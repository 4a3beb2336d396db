"""Names of code that no file holds: what a JIT compiler writes to /tmp/perf-PID.map.

CPython (``-X perf``), Java (``jcmd PID Compiler.perfmap``), Node.js
(``--perf-basic-prof``) and others write one line for each function: its address and
its size in hexadecimal, and its name.
"""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_right
from pathlib import Path

_MOST_BYTES = 64 << 20
_NUMBER = rb"(?:0x)?([0-9a-f]{1,16})"
_LINE = re.compile(rb"^%b %b (\S.*?)\s*$" % (_NUMBER, _NUMBER), re.MULTILINE)


class PerfMap:
    """The map of one process; its number is that of its own PID namespace."""

    def __init__(self, root: Path, pid: int, owners: frozenset[int]) -> None:
        """Look below ``root``, and believe only a file of one of ``owners``."""
        self._path = root / "tmp" / f"perf-{pid}.map"
        self._owners = owners
        self._seen: tuple[int, int] | None = None
        self._starts: list[int] = []
        self._functions: list[tuple[int, str]] = []

    def name(self, address: int) -> str:
        """Return the name of the function at ``address``, empty where none is known."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return ""
        end, name = self._functions[at]
        return name if address < end else ""

    def refresh(self) -> None:
        """Read it, if it has changed since the last time."""
        try:
            # A process can put anything there, a pipe that blocks too.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._path, flags)
        except OSError:
            return
        with open(fd, "rb") as stream:
            found = os.fstat(fd)
            seen = (found.st_size, found.st_mtime_ns)
            regular = stat.S_ISREG(found.st_mode) and found.st_uid in self._owners
            if regular and seen != self._seen:
                self._seen = seen
                self._take(stream.read(_MOST_BYTES))

    def _take(self, text: bytes) -> None:
        """Sort the lines; of two for one address the later one holds."""
        functions: dict[int, tuple[int, str]] = {}
        for line in _LINE.finditer(text):
            start, size = int(line[1], 16), int(line[2], 16)
            functions[start] = start + size, line[3].decode("utf-8", "backslashreplace")
        self._starts = sorted(functions)
        self._functions = [functions[start] for start in self._starts]
