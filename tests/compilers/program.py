"""Makes a program of many decisions, and runs them as this processor does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from forktrace.kernel.emulation import Layout
from tests.compilers.compilers import SHADOW, Build
from tests.compilers.rules import Rule
from tests.compilers.shapes import Shape
from tests.compilers.twists import CONSTANTS

_HERE = Path(__file__).parent

VM_FLAGS, PAD = 0x20, 0x30
THUNKS = ("__x86_return_thunk",)

# Calls of a function without and with breakpoints in it.
_TRIES, _WATCHED = 3000, 100


class Job(NamedTuple):
    """A function to hold against a rule, and its branches against its calls."""

    function: int
    rule: Rule
    worth: Rule
    branches: Sequence[int]


class Seen(NamedTuple):
    """What came of it: ``first`` is a call that the rule foretells wrong."""

    wrong: int
    wrong_branches: int
    first: str


def layout(anon_vma: int) -> Layout:
    """Return a layout with an anon_vma at this offset."""
    return Layout(VM_FLAGS, anon_vma)


def compile_program(
    build: Build, shapes: Sequence[Shape], anon_vma: int, folder: Path
) -> Path:
    """Return the program of the decisions, linked with the harness."""
    define = f"-DANON_VMA_PAD={(anon_vma - PAD) // 8}"
    source = folder / "shapes.c"
    functions = [shape.function(number)[1] for number, shape in enumerate(shapes)]
    source.write_text("\n".join([f'#include "{_HERE / "prelude.h"}"', *functions]))
    decisions, harness = folder / "shapes.o", folder / "harness.o"
    _run(build.compiler.command, *build.options, define, "-c", source, "-o", decisions)
    _run(
        *("cc", "-O1", "-w", "-fno-pie", "-fcf-protection=none", define),
        *(f"-DSHADOW={SHADOW:#x}", "-c", _HERE / "harness.c", "-o", harness),
    )
    stubs = folder / "stubs.s"
    stubs.write_text("".join(_stubs(decisions, harness)))
    program = folder / "program"
    _run(
        *("cc", "-no-pie", "-Wl,-z,noexecstack", "-Wl,--no-warn-rwx-segments"),
        *(decisions, harness, stubs, "-o", program),
    )
    return program


def run(program: Path, jobs: Sequence[Job]) -> list[Seen]:
    """Run each job's function thousands of times."""
    lines = []
    for job in jobs:
        numbers = (job.function, *job.rule, *job.worth)
        words = [*(f"{number:x}" for number in numbers), str(len(CONSTANTS))]
        words += [f"{constant:x}" for constant in CONSTANTS]
        words += [str(len(job.branches)), *(f"{at:x}" for at in job.branches)]
        lines.append(" ".join(words))
    done = subprocess.run(
        [program, str(_TRIES), str(_WATCHED)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    seen = []
    for line in done.stdout.splitlines():
        wrong, branches, *first = line.split(" ", 2)
        seen.append(Seen(int(wrong), int(branches), *first))
    assert len(seen) == len(jobs)
    return seen


def _stubs(decisions: Path, harness: Path) -> Iterable[str]:
    """Yield functions that do nothing, for all that instrumentation calls."""
    defined = set(_nm("--defined-only", harness))
    yield ".text\n"
    for name in sorted(set(_nm("--undefined-only", decisions)) - defined):
        result = "" if name in THUNKS else "xor %eax, %eax\n"
        yield f".globl {name}\n.type {name}, @function\n{name}: {result}ret\nint3\n"
    yield '.section .note.GNU-stack,"",@progbits\n'


def _nm(which: str, path: Path) -> list[str]:
    lines = _run("nm", which, path).splitlines()
    return [line.split()[-1] for line in lines if line]


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stderr}")
    return done.stdout
