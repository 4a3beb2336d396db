"""Names of a process's mappings, from /proc/PID/maps, for the VMAs of one fork."""

from __future__ import annotations

import os
import re
from pathlib import Path

from forktrace.model import Fork
from forktrace.text import encodable

PROC = Path("/proc")

# start-end perms offset device inode, and a name that may hold spaces.
_NAMED = re.compile(
    r"^(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16})(?: +\S+){4} +(?P<name>\S.*)$",
    re.MULTILINE,
)


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
    for line in _NAMED.finditer(text):
        start = int(line["start"], 16)
        if wanted.get(start) == int(line["end"], 16):
            names[start] = encodable(line["name"])
    return names
