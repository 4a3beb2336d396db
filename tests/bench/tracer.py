"""forktrace's probes and nothing else, for as long as stdin is open.

    python -m tests.bench.tracer --attach fentry|kprobe [--vmas] [--stacks] [--cow]

Says when the probes are up: ``mask`` (the kernel's VM_COPY_ON_FORK) and ``offset``
(of pgtables_bytes in mm_struct). In the end it says what they counted: ``forks``,
``copied`` and ``skipped`` VMAs, ``page_table_bytes`` and ``lost``.
"""

from __future__ import annotations

import argparse
import sys

from forktrace.kernel.btf import Btf
from forktrace.tracer.session import Session, Wanted
from tests.bench.figures import OPTIONS
from tests.live.workloads.talk import say

RING_BYTES = 64 << 20
"""Room for all that is sent: nobody reads it, for that is no part of the fork."""


def main() -> None:
    """Attach, wait, and say what was counted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--attach", choices=("fentry", "kprobe"), required=True)
    for option in OPTIONS:
        parser.add_argument(f"--{option}", action="store_true")
    options = parser.parse_args()
    wanted = Wanted(
        events=options.vmas or options.stacks,
        details=options.vmas,
        stacks=options.stacks,
        cow=options.cow,
        ring_bytes=RING_BYTES,
    )
    with Session(options.attach, "rule", wanted) as session:
        with Btf.of_running_kernel() as btf:
            offset = btf.offset("mm_struct", "pgtables_bytes", 8)
        say({"mask": session.kernel.rule.mask, "offset": offset})
        sys.stdin.read()
        session.detach()
        totals = session.totals()
        say(
            {
                "forks": totals.forks["ok"],
                "copied": sum(cost.vmas for cost in totals.triggers),
                "skipped": totals.vmas.skip,
                "page_table_bytes": sum(
                    cost.page_table_bytes for cost in totals.triggers
                ),
                "lost": sum(totals.lost.values()),
            }
        )


if __name__ == "__main__":
    main()
