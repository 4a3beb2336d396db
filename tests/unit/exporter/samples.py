"""Totals and forks as the tracer would hand them over, for every exporter test."""

from __future__ import annotations

from itertools import combinations

from forktrace.cow import CowCost, CowTotals
from forktrace.model import (
    PARTS,
    CgroupCost,
    ExecDiscards,
    Fork,
    Histogram,
    KernelInfo,
    ProcessCost,
    ProgramCost,
    Totals,
    TriggerCost,
    Vforks,
    VmaCounts,
)
from forktrace.tracer import cow
from forktrace.tracer.layout import LOST_STAGES, MISSED
from forktrace.tracer.maps import UNKNOWN

INFO = KernelInfo("7.3.4-cloud-amd64", "fentry", 0x80010001C00, "code")

BITS = ("pfnmap", "maybe_guard", "uffd_wp", "mixedmap", "uffd_rwp")
"""The bits of the longest rule there is."""

BOUNDS_NS = tuple(
    step * 10**power
    for power in range(4, 11)
    for step in (1, 2, 5)
    if 10**4 < step * 10**power <= 10**10
)
"""20 us to 10 s."""

ERRNOS = ("EAGAIN", "ENOMEM", "EINVAL", "ENOSPC", "EINTR", "ERESTARTNOINTR", "other")
"""What fork fails with."""


def histogram() -> Histogram:
    return Histogram(BOUNDS_NS, tuple(range(len(BOUNDS_NS) + 1)), 12_500_000_000)


def totals(
    processes: tuple[ProcessCost, ...] = (), cgroups: tuple[CgroupCost, ...] = ()
) -> Totals:
    """Return a few totals, every number different."""
    return Totals(
        forks={"ok": 23, "failed": 2},
        vmas=VmaCounts(copy=805, skip=230, dontcopy=46, wipeonfork=69),
        triggers=(
            TriggerCost("pfnmap+mixedmap", False, 92, 1_500_000_000, 8192),
            TriggerCost("anon_vma", True, 713, 2_500_000_000, 4_096_000),
        ),
        fork_duration=histogram(),
        copy_duration=histogram(),
        lost={"events": 7, "returns": 0},
        decision_checks={("branch", "agree"): 805, ("branch", "disagree"): 1},
        exec_discards=ExecDiscards(19, 750_000_000, 65536),
        processes=processes,
        cgroups=cgroups,
        programs=(ProgramCost("copy_page_range", 3_000_000, 1035),),
        failures={"EAGAIN": 2},
        parts={name: histogram() for name in PARTS},
        vforks=Vforks(3, 2_000_000_000),
    )


def full_totals(
    processes: tuple[ProcessCost, ...], cgroups: tuple[CgroupCost, ...] = ()
) -> Totals:
    """Return totals with all stages, and each trigger the longest rule can give."""
    names = [
        "+".join(bits)
        for count in range(1, len(BITS) + 1)
        for bits in combinations(BITS, count)
    ]
    triggers = [
        TriggerCost(name, anon, 10**6, 10**12 + 1, 2**40)
        for name in names
        for anon in (False, True)
    ]
    triggers += [
        TriggerCost("anon_vma", True, 10**9, 10**15, 2**50),
        TriggerCost(UNKNOWN, False, 1, 0, 4096),
    ]
    few = totals(processes)
    return Totals(
        forks={"ok": 10**9, "failed": 10**6},
        vmas=few.vmas,
        triggers=tuple(triggers),
        fork_duration=histogram(),
        copy_duration=histogram(),
        lost=dict.fromkeys((*MISSED, *LOST_STAGES, *cow.LOST_STAGES), 3),
        cow=CowTotals(CowCost(1, 2, 3, 4, 5), CowCost(5, 4, 3, 2, 1), 6, 7, {}),
        decision_checks=few.decision_checks,
        exec_discards=few.exec_discards,
        processes=processes,
        cgroups=cgroups,
        programs=tuple(ProgramCost(f"program_{n}", 10**9, 10**6) for n in range(13)),
        failures=dict.fromkeys(ERRNOS, 7),
        parts=few.parts,
        vforks=few.vforks,
    )


def forks() -> list[Fork]:
    """Return two forks, the newest first: one that failed and one by redis."""
    failed = Fork(
        1_795_300_000_123_456_789, 4711, 4712, "<b>evil\n", 0, "/", "failed", "ENOMEM",
        91_000, 0, 0, VmaCounts(), (),
    )  # fmt: skip
    ok = Fork(
        1_795_299_999_000_000_000, 815, 815, "redis-server", 4709, "/redis", "ok", None,
        12_400_000, 11_900_000, 2_260_992, VmaCounts(31, 12, 1, 0),
        (
            TriggerCost("anon_vma", True, 29, 11_800_000, 2_252_800),
            TriggerCost("pfnmap+mixedmap", False, 2, 100_000, 8192),
        ),
    )  # fmt: skip
    return [failed, ok]


def full() -> Totals:
    """Return totals that fill the registry, from as many names as the kernel keeps."""
    return full_totals(
        tuple(
            ProcessCost(f"process{n}", n, n, n, failed=n, vforks=Vforks(n, n))
            for n in range(2048)
        ),
        tuple(
            CgroupCost(n + 1, f"unit{n}.service", "system.slice", n, n, n)
            for n in range(2048)
        ),
    )
