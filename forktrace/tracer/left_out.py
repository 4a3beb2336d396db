"""VMAs of the parent that fork never took to copy_page_range, from /proc.

The kernel counts them (Fork.vmas), but no probe meets them one by one. Where the
parent still has as many such VMAs as the kernel counted, they are the ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from forktrace.errors import ForktraceError
from forktrace.kernel.flags import FlagNames
from forktrace.model import Fork, Vma
from forktrace.procfs import SmapsVma, read_smaps

_LAST_BIT = 63


def with_left_out(fork: Fork, names: FlagNames) -> Fork:
    """Add the DONTCOPY and WIPEONFORK VMAs to ``details``, in address order.

    Their flags are what smaps tells, which leaves out some bits. The fork comes back
    unchanged when /proc no longer agrees with the kernel's counts.
    """
    counts = fork.vmas
    if fork.details is None or not (counts.dontcopy or counts.wipeonfork):
        return fork
    try:
        now = read_smaps(fork.pid)
    except ForktraceError:
        return fork
    dontcopy = [vma for vma in now if "dontcopy" in vma.flag_names]
    wipe = [
        vma
        for vma in now
        if "wipeonfork" in vma.flag_names and "dontcopy" not in vma.flag_names
    ]
    if (len(dontcopy), len(wipe)) != (counts.dontcopy, counts.wipeonfork):
        return fork
    found = [_vma(vma, "dontcopy", names) for vma in dontcopy]
    found += [_vma(vma, "wipeonfork", names) for vma in wipe]
    ordered = sorted((*fork.details, *found), key=lambda vma: vma.start)
    return replace(fork, details=tuple(ordered))


def _vma(
    vma: SmapsVma, decision: Literal["dontcopy", "wipeonfork"], names: FlagNames
) -> Vma:
    bits = {names.name(bit): bit for bit in range(_LAST_BIT + 1)}
    flags = sum(1 << bits[name] for name in vma.flag_names if name in bits)
    return Vma(
        start=vma.start,
        end=vma.end,
        src_flags=flags,
        dst_flags=0 if decision == "dontcopy" else flags,
        flags=names.names(flags),
        anon_vma=vma.anonymous > 0,
        decision=decision,
        source="proc",
        trigger=None,
        copy_ns=0,
        page_table_bytes=0,
        pinned_bytes=0,
    )
