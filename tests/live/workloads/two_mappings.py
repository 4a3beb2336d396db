"""A process that forks, with two files mapped so that fork copies both.

    python -m tests.live.workloads.two_mappings --comm NAME PATH PATH

The second file is four times as large as the first, and both are written to, privately.
Ready: ``pid``, and where each file is: ``start`` and ``end`` by path. ``fork`` makes a
child that exits at once.
"""

from __future__ import annotations

import argparse
import mmap
import os
from collections.abc import Mapping
from pathlib import Path

from tests.live.workloads.talk import obey, say

MIB = 1 << 20
SIZES = (8 * MIB, 32 * MIB)


def map_privately(path: str, size: int) -> mmap.mmap:
    """Map a file that is made for it, and write to each page."""
    with open(path, "w+b") as file:
        file.truncate(size)
        mapped = mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE)
    for place in range(0, size, mmap.PAGESIZE):
        mapped[place] = 1
    return mapped


def places(paths: list[str]) -> dict[str, dict[str, int]]:
    """Return where each file is mapped, as one VMA."""
    found = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if path in paths:
            assert path not in found
            start, end = (int(each, 16) for each in line.split()[0].split("-"))
            found[path] = {"start": start, "end": end}
    return found


def fork() -> Mapping[str, int]:
    """Fork once."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return {"child": child}


def main() -> None:
    """Map both, say where, and fork when told to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--comm", required=True)
    parser.add_argument("--now", action="store_true")
    parser.add_argument("paths", nargs=2)
    options = parser.parse_args()
    Path("/proc/self/comm").write_text(options.comm)
    kept = [map_privately(*each) for each in zip(options.paths, SIZES)]
    say({"pid": os.getpid(), "places": places(options.paths)})
    obey({"fork": fork}, now=options.now)
    del kept


if __name__ == "__main__":
    main()
