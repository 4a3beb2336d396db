"""One large mapping of one kind, sparsely touched: what its page tables cost a child.

    python -m tests.live.workloads.large --kind maybe_guard [--mib 256] [--forks 1]
        [--now]

Ready: ``pid``, ``mappings`` and ``skipped``, as every_kind says them. ``go`` forks:
``forks`` (pids), and of one more, living child ``page_table_bytes``: its VmPTE.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from forktrace import procfs
from forktrace.kinds import KINDS, EveryKind, fork_once, living_child
from tests.live.workloads.talk import obey, say


def main() -> None:
    """Make the mapping, say so, and obey."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kind", choices=[kind.name for kind in KINDS], required=True)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument(
        "--stride-kib", type=int, default=2048, help="touched: one page in"
    )
    parser.add_argument("--forks", type=int, default=1)
    parser.add_argument("--now", action="store_true", help="do not wait for commands")
    options = parser.parse_args()

    def go() -> dict[str, Any]:
        forks = [fork_once() for _ in range(options.forks)]
        with living_child() as pid:
            page_table_bytes = procfs.vm_pte_bytes(pid)
        return {
            "pid": os.getpid(),
            "forks": forks,
            "child": pid,
            "page_table_bytes": page_table_bytes,
        }

    with EveryKind(
        [options.kind], length=options.mib << 20, stride=options.stride_kib << 10
    ) as every:
        say(
            {
                "pid": os.getpid(),
                "mappings": [mapping.to_json() for mapping in every.mappings],
                "skipped": [skipped.to_json() for skipped in every.skipped],
            }
        )
        obey({"go": go}, now=options.now)


if __name__ == "__main__":
    main()
