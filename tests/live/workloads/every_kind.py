"""One VMA of every kind that this kernel knows, then plain forks.

    python -m tests.live.workloads.every_kind [--forks 23] [--now]

Ready: ``pid``, ``release``, ``mappings`` (what was made and what it shows the kernel)
and ``skipped`` (kinds this kernel cannot make, with the reason).

``go`` forks: ``forks`` (pids of the children, in order), ``vmas`` (how many VMAs the
kernel met in each fork), ``smaps`` (each of them), ``stable`` (whether smaps after the
forks is the same, and so true of every fork) and ``changed`` (what is not).

``child`` forks once more and looks into the living child: ``child`` (its pid),
``page_table_bytes`` (its VmPTE), ``smaps``, and ``wrong``: the mappings of which the
child's VMA is not what ``dst`` promises.
"""

from __future__ import annotations

import argparse
import gc
import os
from array import array
from collections.abc import Sequence
from typing import Any

from forktrace import procfs
from forktrace.kinds import EveryKind, Mapping, fork_once, living_child
from tests.live.workloads.snapshot import Snapshot, shape
from tests.live.workloads.talk import obey, say


class Workload:
    """The forks, with everything they need allocated and touched before."""

    def __init__(self, mappings: Sequence[Mapping], forks: int) -> None:
        """Warm up: what Python allocates while it forks, it allocates here."""
        self._mappings = mappings
        self._children = array("l", [0] * forks)
        self._before = Snapshot()
        self._after = Snapshot()
        gc.collect()
        gc.freeze()
        gc.disable()
        for _ in range(2):
            self._before.take()
            self._fork(min(forks, 2))
            self._after.take()
            self._changed()

    def go(self) -> dict[str, Any]:
        """Fork and say what the kernel met."""
        self._before.take()
        self._fork(len(self._children))
        self._after.take()
        changed = self._changed()
        vmas = [vma for vma in self._before.vmas() if vma.name != "[vsyscall]"]
        return {
            "pid": os.getpid(),
            "forks": list(self._children),
            "vmas": len(vmas),
            "smaps": [shape(vma) for vma in vmas],
            "stable": not changed,
            "changed": changed,
        }

    def child(self) -> dict[str, Any]:
        """Fork once and say what the living child has."""
        with living_child() as pid:
            vmas = procfs.read_smaps(pid)
            page_table_bytes = procfs.vm_pte_bytes(pid)
        found = {(vma.start, vma.end): vma.flag_names for vma in vmas}
        return {
            "child": pid,
            "page_table_bytes": page_table_bytes,
            "smaps": [shape(vma) for vma in vmas],
            "wrong": [
                mapping.kind.name
                for mapping in self._mappings
                if found.get((mapping.start, mapping.end), frozenset()) != mapping.dst
            ],
        }

    def _fork(self, count: int) -> None:
        for index in range(count):
            self._children[index] = fork_once()

    def _changed(self) -> list[dict[str, Any]]:
        """Return the VMAs that stand in only one of the two snapshots."""
        before = [shape(vma) for vma in self._before.vmas()]
        after = [shape(vma) for vma in self._after.vmas()]
        return [vma for vma in before if vma not in after] + [
            vma for vma in after if vma not in before
        ]


def main() -> None:
    """Make the VMAs, say so, and obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--forks", type=int, default=23)
    parser.add_argument("--now", action="store_true", help="do not wait for commands")
    options = parser.parse_args()
    with EveryKind() as every:
        workload = Workload(every.mappings, options.forks)
        say(
            {
                "pid": os.getpid(),
                "release": os.uname().release,
                "mappings": [mapping.to_json() for mapping in every.mappings],
                "skipped": [skipped.to_json() for skipped in every.skipped],
            }
        )
        obey({"go": workload.go, "child": workload.child}, now=options.now)


if __name__ == "__main__":
    main()
