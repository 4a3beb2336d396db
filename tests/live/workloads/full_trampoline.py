"""Hangs fentry programs on copy_page_range until the kernel takes no more.

    python -m tests.live.workloads.full_trampoline

Ready: ``attached`` (how many) and ``refused`` (the errno). They stay until stdin is
closed.
"""

from __future__ import annotations

import sys

from forktrace import libbpf
from forktrace.kernel.btf import Btf
from forktrace.tracer.compiler import compile_text
from forktrace.tracer.objects import FENTRY, TRACING, load_program
from tests.live.workloads.talk import say

NOTHING = """
#include <uapi/linux/ptrace.h>
KFUNC_PROBE(copy_page_range, void *dst, void *src) { return 0; }
"""
NAME = "kfunc__copy_page_range"


def main() -> None:
    """Fill it, say so, and wait."""
    code = compile_text(NOTHING).programs[NAME].instructions
    with Btf.of_running_kernel() as btf:
        function = btf.function("copy_page_range")
    attached = 0
    while True:
        # Each time another one: the kernel attaches none twice.
        loaded = load_program(code, TRACING, "full", FENTRY, function)
        try:
            libbpf.attach_trampoline(loaded)
        except OSError as error:
            say({"attached": attached, "refused": error.errno})
            break
        attached += 1
    sys.stdin.read()


if __name__ == "__main__":
    main()
