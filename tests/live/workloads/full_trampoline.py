"""Hangs fentry programs on copy_page_range until the kernel takes no more.

    python -m tests.live.workloads.full_trampoline

Ready: ``attached`` (how many) and ``refused`` (the errno). They stay until stdin is
closed.
"""

from __future__ import annotations

import os
import sys

from forktrace import libbpf
from forktrace.tracer import program
from tests.live.workloads.talk import say

NOTHING = """
#include <uapi/linux/ptrace.h>
KFUNC_PROBE(copy_page_range, void *dst, void *src) { return 0; }
"""


def main() -> None:
    """Fill it, say so, and wait."""
    os.environ["BCC_KERNEL_SOURCE"] = str(program.bpf_folder())
    bpf = program._compile(NOTHING)
    name = program._function(bpf, "kfunc__copy_page_range")
    attached = 0
    while True:
        # Each time another one: the kernel attaches none twice.
        bpf.funcs.clear()
        try:
            libbpf.attach_trampoline(bpf.load_func(name, bpf.TRACING).fd)
        except OSError as error:
            say({"attached": attached, "refused": error.errno})
            break
        attached += 1
    sys.stdin.read()


if __name__ == "__main__":
    main()
