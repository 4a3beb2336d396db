"""Holds what the decoder says of compiled decisions against what they do."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from forktrace.kernel.arch import Architecture, architecture
from forktrace.kernel.decision import Decision, Undecodable
from forktrace.kernel.decode import decode
from forktrace.kernel.symbols import is_cold
from forktrace.kernel.text import Text
from tests.compilers.compilers import KASAN_SHADOW, SHADOW, Build
from tests.compilers.elf import Program
from tests.compilers.program import THUNKS, Job, compile_program, layout, run
from tests.compilers.rules import Rule
from tests.compilers.shapes import HELPER, Shape

_X86 = cast(Architecture, architecture("x86_64"))
_SHADOWS = tuple(struct.pack("<Q", at) for at in (SHADOW, KASAN_SHADOW))
_ANON_VMAS = (0x40, 0x68)


@dataclass(frozen=True)
class Verdict:
    """On one decision in one build.

    ``wrong`` says what the decoder said and what is so; ``refused`` why it said
    nothing; both are empty where it was right. ``plain``: flags and an anon_vma
    decided, all those times.
    """

    build: Build
    shape: Shape
    plain: bool
    refused: str = ""
    wrong: str = ""


def judge(build: Build, shapes: Sequence[Shape], turn: int = 0) -> Iterator[Verdict]:
    """Compile, decode and run ``shapes``; every other ``turn`` has another layout."""
    anon_vma = _ANON_VMAS[turn % 2]
    with tempfile.TemporaryDirectory() as name:
        path = compile_program(build, shapes, anon_vma, Path(name))
        program = Program(path)
        answers = [
            _decode(program, shape, number, anon_vma)
            for number, shape in enumerate(shapes)
        ]
        jobs = [
            _job(program, shape, number, answer)
            for number, (shape, answer) in enumerate(zip(shapes, answers))
        ]
        for shape, answer, job, seen in zip(shapes, answers, jobs, run(path, jobs)):
            if isinstance(answer, str):
                yield Verdict(build, shape, not seen.wrong, refused=answer)
            elif seen.wrong:
                wrong = f"says {_text(job.rule)}, but {seen.first}"
                yield Verdict(build, shape, False, wrong=wrong)
            elif seen.wrong_branches:
                places = ", ".join(f"{at:+#x}" for at in answer.branches)
                yield Verdict(build, shape, True, wrong=f"branches {places}")
            else:
                yield Verdict(build, shape, True)


def _decode(
    program: Program, shape: Shape, number: int, anon_vma: int
) -> Decision | str:
    """Return what the decoder says, or why it says nothing."""
    name, _ = shape.function(number)
    cold = [text for text in program.variants(name) if is_cold(text.name)]
    texts = [program.text(name), *cold, *program.variants(f"{name}_{HELPER}")]
    thunks = frozenset(at for n in THUNKS if (at := program.symbols.get(n)))
    try:
        return decode(
            _X86,
            [_as_in_a_kernel(text) for text in texts],
            layout(anon_vma),
            thunks,
            program.name_at,
        )
    except Undecodable as error:
        return str(error)


def _as_in_a_kernel(text: Text) -> Text:
    return text._replace(code=text.code.replace(_SHADOWS[0], _SHADOWS[1]))


def _job(program: Program, shape: Shape, number: int, answer: Decision | str) -> Job:
    name, _ = shape.function(number)
    at = program.symbols[name]
    if isinstance(answer, str):
        return Job(at, shape.rule, shape.rule, ())
    rule = Rule(
        *(
            sum(1 << bit for bit, asked in answer.bits.items() if asked == side)
            for side in ("dst", "src")
        )
    )
    return Job(at, rule, shape.rule, [at + offset for offset in answer.branches])


def _text(rule: Rule) -> str:
    return f"dst & {rule.dst:#x}, src & {rule.src:#x}"
