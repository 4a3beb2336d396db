"""A process as /proc shows it at one moment: all that a forecast rests on."""

from __future__ import annotations

from dataclasses import dataclass

from forktrace import procfs
from forktrace.explain import guards, pagemap, pins, userfaults
from forktrace.explain.guards import Guards
from forktrace.explain.pagemap import Seen
from forktrace.procfs import SmapsVma

# Pages of the kernel's own, in no mm: fork never meets them.
GATES = ("[vsyscall]", "[vectors]")


@dataclass(frozen=True)
class Process:
    """What is known of one process.

    ``page_table_bytes`` is what its own tables take (VmPTE), ``seen`` what of them
    pagemap shows. Of a pasted smaps, neither ``pid`` nor ``comm`` nor the former is
    known, and ``seen`` is an estimate. ``fork_event``: whether its userfaultfds report
    forks, None where that is not known. ``guards`` belong to ``vmas`` one by one.
    ``buffers`` are registered with io_uring; ``pinned_bytes`` is VmPin.
    """

    pid: int | None
    comm: str | None
    page_table_bytes: int | None
    vmas: tuple[SmapsVma, ...]
    guards: tuple[Guards, ...]
    seen: Seen
    fork_event: bool | None
    buffers: tuple[pins.Range, ...] = ()
    pinned_bytes: int = 0

    @classmethod
    def read(cls, pid: int, *, scan: bool = True) -> Process:
        """Look at a process. ``scan``: whether to try PAGEMAP_SCAN.

        Raises ForktraceError if there is none, or it may not be read, or it has no
        memory of its own.
        """
        vmas = tuple(v for v in procfs.read_smaps(pid) if v.name not in GATES)
        seen = pagemap.look(pid, vmas, scan=scan)
        uffd = any(code in vma.vm_flags for vma in vmas for code in ("uw", "ur"))
        fork_event = userfaults.reports_forks(pid) if uffd else None
        tables = procfs.vm_pte_bytes(pid)
        status = procfs.read_status(pid)
        return cls(
            pid=status.pid,
            comm=status.comm,
            page_table_bytes=tables,
            vmas=vmas,
            guards=_guards(vmas, seen),
            seen=seen,
            fork_event=fork_event,
            buffers=pins.io_uring_buffers(pid, status.parent),
            pinned_bytes=status.pinned_bytes,
        )


def _guards(vmas: tuple[SmapsVma, ...], seen: Seen) -> tuple[Guards, ...]:
    marked = ["gu" in vma.vm_flags for vma in vmas]
    if seen.guards is None:
        return tuple(Guards(None, once) for once in marked)
    counts = guards.count(vmas, seen.guards)
    return tuple(
        Guards(pages, once or pages > 0) for pages, once in zip(counts, marked)
    )
