"""Names of a process's mappings, from /proc/PID/maps, for the VMAs of one fork."""

from __future__ import annotations

import os
from pathlib import Path

from forktrace.model import Fork
from forktrace.text import encodable

PROC = Path("/proc")


def mapping_names(fork: Fork, proc: Path = PROC) -> dict[int, str]:
    """Return the names of the parent's mappings by their first address.

    Best effort: a mapping is named when it still begins and ends where the fork met
    it. Empty when the parent is gone.
    """
    wanted = {vma.start: vma.end for vma in fork.details or ()}
    names: dict[int, str] = {}
    try:
        text = os.fsdecode((proc / str(fork.pid) / "maps").read_bytes())
    except OSError:
        return names
    for line in text.split("\n"):
        # start-end perms offset device inode, and a name that may hold spaces.
        fields = line.split(maxsplit=5)
        if len(fields) < 6:
            continue
        start, _, end = fields[0].partition("-")
        if wanted.get(int(start, 16)) == int(end, 16):
            names[int(start, 16)] = encodable(fields[5])
    return names
