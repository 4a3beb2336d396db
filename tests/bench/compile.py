"""Makes forktrace ready to attach on this machine's own kernel; timed from outside.

    python -m tests.bench.compile [HEADERS]

Everything from the start to the loaded programs: imports, BTF, the rule, the compiler
(unless CACHE_DIRECTORY names a folder where an earlier start kept what it made), the
verifier. Nothing is attached, so that it works where there are no kprobes; and for
the same reason it is the kprobe programs. With HEADERS, a folder of kernel headers, the
program includes <linux/mm.h> and the like and takes its struct offsets from there, as
BCC programs do. That kernel need not be this one: nothing runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from forktrace.errors import ForktraceError
from forktrace.tracer import backend, compiler, macros, program
from forktrace.tracer.objects import Compiled

RING_BYTES = 1 << 20

INCLUDES = """
#include <linux/mm_types.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
"""


def compile_with(headers: Path) -> Callable[[str], Compiled]:
    """Return what stands in for compile_text: kernel headers are used."""
    original = compiler.compile_text
    offsets = {
        name: f"#define {name} __builtin_offsetof(struct {struct}, {member})"
        for name, (struct, member, _) in macros._OFFSETS.items()
    }

    def compile_text(text: str) -> Compiled:
        lines = text.splitlines()
        for number, line in enumerate(lines):
            words = line.split(maxsplit=2)
            if len(words) == 3 and words[0] == "#define":
                lines[number] = offsets.get(words[1], line)
        compiler.bpf_folder = lambda: headers
        return original(INCLUDES + "\n".join(lines))

    return compile_text


def main() -> int:
    """Compile and load; return the exit status."""
    # Set by hand, since importing a library for it would be timed too.
    if sys.argv[1:]:
        vars(program)["compile_text"] = compile_with(Path(sys.argv[1]))
    try:
        backend.prepare("kprobe", RING_BYTES).loaded.close()
    except ForktraceError as error:
        print(error.message, error.details or "", sep="\n", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
