"""Decisions that ask for more than any bit and an anon_vma: what must not be a rule."""

from __future__ import annotations

from collections.abc import Iterator

from tests.compilers.rules import KERNELS, Rule
from tests.compilers.shapes import ENDINGS, SIGNATURE, Shape, condition, hexa

CONSTANTS = (5, 7, 0x1234567, 0x123456789ABCDE)
"""Values that other state is compared with."""

_STATE = {
    "long": "state_long",
    "long5": "state_long == 5",
    "int": "state_int != 0",
    "int7": "state_int == 7",
    "intbit": "state_int & 0x20000",
    "mm": "src->vm_mm->x",
    "mm5": "src->vm_mm->x == 5",
    "mmbit": "dst->vm_mm->x & BIT(17)",
    "mmnot": "dst->vm_mm->y != 0",
    "samemm": "dst->vm_mm == src->vm_mm",
    "pgoff": "src->vm_pgoff",
    "pgoff5": "src->vm_pgoff == 5",
    "pgoffrare": "src->vm_pgoff == 0x123456789abcdeUL",
    "pgofflarge": "src->vm_pgoff > BIT(40)",
    "pgoffbit": "dst->vm_pgoff & 0x10",
    "pgoffmod": "src->vm_pgoff % 7 == 5",
    "samepgoff": "dst->vm_pgoff == src->vm_pgoff",
    "file": "src->vm_file != 0",
    "mode": "src->vm_file && src->vm_file->f_mode == 5",
    "samefile": "dst->vm_file == src->vm_file",
    "long range": "src->vm_end - src->vm_start > 0x200000",
    "prot": "(src->vm_page_prot & 0xff) == 7",
    "whole flags": "S == 0x123456789abcdeUL",
    "whole other": "D == 0x1234567UL",
    "two": "src->vm_pgoff == 5 && state_long == 7",
    "two own": "src->vm_pgoff == 5 && dst->vm_pgoff == 7",
    "three": "src->vm_pgoff == 5 && state_int == 7 && src->vm_mm->x == 5",
    "either": "src->vm_pgoff == 5 || state_int == 7",
    "no jump": "(src->vm_pgoff == 5) & (state_long == 7)",
    "no jump three": "(src->vm_pgoff == 5) & (state_long == 7) & (state_int == 5)",
    "arithmetic": "((src->vm_pgoff ^ 5) - 1) >> 63",
}

# C is the plain condition with the anon_vma, F the flags' part, X what else is asked.
_PLACES = {
    "or": "if (!((C) || (X))) return 0; END",
    "and": "if (!((C) && (X))) return 0; END",
    "and not": "if (!((C) && !(X))) return 0; END",
    "before": "if (X) return 0; if (!(C)) return 0; END",
    "after": "if (!(C)) return 0; if (unlikely(X)) return 0; END",
    "error": "if (X) return -22; if (!(C)) return 0; END",
    "error after": "if (!(C)) return 0; if (X) return -12; END",
    "anon and": "if (!((F) || (A && (X)))) return 0; END",
    "anon and not": "if (!((F) || (A && !(X)))) return 0; END",
    "bit and": "if (!((C) || ((D & BIT(50)) && (X)))) return 0; END",
    "bit and not": "if (!((C) || ((S & BIT(3)) && !(X)))) return 0; END",
    "no jump": "if (!(!!(F) | (A != 0) | !!(X))) return 0; END",
    "no jump and": "if (!((!!(F) | (A != 0)) & !(X))) return 0; END",
    "selected": "u64 m = (X) ? ~0UL : MASK; if (!(((D | S) & m) | (A != 0))) return 0; END",
    "cleared": "u64 m = MASK; if (X) m = 0; if (!(D & m) && !A) return 0; END",
    "kept": "bool x = (X), c = (F) || A; if (x) c = !c; if (!c) return 0; END",
    "twice": "u64 a = 0, b = 0; if (X) a = ~0UL; if (state_int == 5) b = ~0UL;"
    " if (!((D & MASK) | (a & b) | (A != 0))) return 0; END",
}

_ALONE = {
    "two bits": "(C) || (D & 0x3000000000000UL) == 0x3000000000000UL",
    "three bits": "(C) || (S & 0x7000000000000UL) == 0x7000000000000UL",
    "eight bits": "(C) || (S & 0xff000000000000UL) == 0xff000000000000UL",
    "a bit of each": "(C) || ((D & BIT(40)) && (S & BIT(41)))",
    "the same bit of both": "(C) || (D & S & BIT(40))",
    "different in a bit": "(C) || ((D ^ S) & BIT(40))",
    "different": "(C) && D != S",
    "equal": "(C) && D == S",
    "larger": "(C) || D > S",
    "forbids": "(C) && !(D & BIT(3))",
    "forbids src": "(C) && !(S & BIT(63))",
    "forbids anon": "(F) || (A && !(S & BIT(17)))",
    "forbids flags": "((F) && !(S & BIT(17))) || A",
    "needs": "(C) && (S & BIT(0))",
    "any but all": "((D & MASK) && (D & MASK) != MASK) || A",
    "one alone": "popcount(D & MASK) == 1 || A",
    "odd": "(popcount(D & MASK) & 1) || A",
    "at least two": "popcount(D & MASK) >= 2 || A",
    "not three": "(popcount(D & MASK) && popcount(D & MASK) != 3) || A",
    "as a number": "(D & MASK) > 0x400 || A",
    "as a signed number": "(long)D < 0 || (C)",
    "shifted": "((D >> 40) & 7) == 1 || (C)",
    "the child's anon": "(C) || dst->anon_vma",
    "both anons": "(F) || (A && dst->anon_vma)",
    "another anon": "(F) || A != dst->anon_vma",
    "anon unless equal": "(F) || (A && A != dst->anon_vma)",
    "anon's low bits": "(F) || ((u64)A & 3)",
    "anon but low bits": "(F) || ((u64)A & ~3UL)",
    "anon above": "(F) || (u64)A > 1",
    "anon's half": "(F) || (u32)(u64)A",
    "anon's sign": "(F) || (long)A < 0",
    "anon not rare": "(F) || (A && (u64)A != 0x123456789abcdeUL)",
    "anon not rare no jump": "!!(F) | ((A != 0) & ((u64)A != 0x123456789abcdeUL))",
    "no anon": "(F)",
    "not anon": "(F) || !A",
    "flags rare no jump": "!!(F) | (A != 0) | (S == 0x123456789abcdeUL)",
}

_WRITES = {
    "xadd": "xadd(&state_atomic, 1); if (!(C)) return 0; END",
    "xadd asked": "if (xadd(&state_atomic, 1) == 5) return 0; if (!(C)) return 0; END",
    "xadd vma": "xadd(&src->vm_lock, 1); if (!(C)) return 0; END",
    "cmpxchg": "if (cmpxchg(&state_atomic, 5, 7) == 5) return 0; if (!(C)) return 0; END",
    "cmpxchg or": "if (!((C) || cmpxchg(&state_atomic, 5, 7) == 5)) return 0; END",
    "cmpxchg vma": "if (cmpxchg(&dst->vm_lock, 0, 1)) return 0; if (!(C)) return 0; END",
    "cmpxchg after": "if (!(C)) return 0; if (cmpxchg(&src->vm_lock, 5, 7) == 5)"
    " return 0; END",
    "cmpxchg flags": "if (cmpxchg(&src->vm_flags, 0, 0) & MASK || A) { END } return 0;",
    "store": "state_long = D; if (!(C)) return 0; END",
    "store after": "if (!(C)) { state_long++; return 0; } END",
    "store vma": "src->vm_lock = 1; if (!(C)) return 0; END",
    "returns 1": "if (!(C)) return 1; END",
    "returns flags": "if (!(C)) return (int)(S & 0xff); END",
    "returns state": "if (!(C)) return state_int; END",
    "copies both ways": "if (!(C)) return copy_huge(dst, src); END",
    "never copies": "if (!(C)) return 0; return 0;",
}


def _shape(name: str, body: str, rule: Rule, ending: str, other: str = "0") -> Shape:
    body = body.replace("END", ENDINGS[ending]).replace("MASK", hexa(rule.any))
    macros = {"C": f"(({condition(rule)}) || A)", "F": f"({condition(rule)})"}
    defines = "".join(f"#define {key} {text}\n" for key, text in macros.items())
    source = (
        f"{defines}#define X ({other})\n{SIGNATURE}\n{{\n{body}\n}}\n"
        "#undef C\n#undef F\n#undef X\n"
    )
    return Shape(f"{name} {ending}", source, rule, plain=False)


def shapes() -> Iterator[Shape]:
    """Yield each of them for one of some kernels' rules."""
    rules = [KERNELS[name] for name in ("7.3", "6.19", "6.0")]
    endings = ("call", "result", "walk")
    number = 0
    for place, body in _PLACES.items():
        for state, other in _STATE.items():
            number += 1
            yield _shape(
                f"{place}: {state}",
                body,
                rules[number % 3],
                endings[number // 3 % 3],
                other,
            )
    for name, expression in _ALONE.items():
        for turn, rule in enumerate(rules):
            body = f"if (!({expression})) return 0; END"
            yield _shape(name, body, rule, endings[turn])
    for name, body in _WRITES.items():
        for turn, rule in enumerate(rules[:2]):
            yield _shape(name, body, rule, endings[turn])
