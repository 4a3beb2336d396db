"""Plain decisions, written in every way that comes to mind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.compilers.rules import KERNELS, Rule, bits_of, randomly
from tests.compilers.shapes import ENDINGS, SIGNATURE, Shape, condition, hexa

Style = Callable[[Rule, str], str]


def _sides(rule: Rule) -> list[tuple[str, int]]:
    both = (("dst", rule.dst), ("src", rule.src))
    return [(side, mask) for side, mask in both if mask]


def _function(body: str) -> str:
    return f"{SIGNATURE}\n{{\n{body}\n}}\n"


def _helper(attributes: str, rule: Rule, end: str, hint: str = "") -> str:
    tests = " ".join(
        f"if ({s}->vm_flags & {hexa(m)}) return true;" for s, m in _sides(rule)
    )
    return (
        f"{attributes} bool NAME_needs_copy(V *dst, V *src)\n{{\n{tests}\n"
        "if (A) return true;\nreturn false;\n}\n"
        + _function(f"if ({hint}(!NAME_needs_copy(dst, src))) return 0;\n{end}")
    )


def one_if(rule: Rule, end: str) -> str:
    return _function(f"if (!({condition(rule)}) && !A) return 0;\n{end}")


def inlined_helper(rule: Rule, end: str) -> str:
    return _helper("inlined", rule, end)


def noinline_helper(rule: Rule, end: str) -> str:
    return _helper("static noinline", rule, end)


def unlikely_helper(rule: Rule, end: str) -> str:
    return _helper("static noinline", rule, end, "unlikely")


def helper_of_values(rule: Rule, end: str) -> str:
    """As if the compiler had taken the VMAs apart itself."""
    body = f"return (d & {hexa(rule.dst)}) || (s & {hexa(rule.src)}) || anon;"
    return (
        f"static noinline bool NAME_needs_copy(u64 d, u64 s, void *anon)\n{{ {body} }}\n"
        + _function(f"if (!NAME_needs_copy(D, S, A)) return 0;\n{end}")
    )


def anon_first(rule: Rule, end: str) -> str:
    return _function(f"if (!A && !({condition(rule)})) return 0;\n{end}")


def copy_first(rule: Rule, end: str) -> str:
    return _function(f"if ({condition(rule)} || A) {{ {end} }}\nreturn 0;")


def likely_skip(rule: Rule, end: str) -> str:
    return _function(f"if (likely(!({condition(rule)}) && !A)) return 0;\n{end}")


def reused_value(rule: Rule, end: str) -> str:
    """What is tested is what is returned."""
    return _function(
        f"u64 m = D & {hexa(rule.dst)};\nif (!m) {{ m = S & {hexa(rule.src)};\n"
        f"if (!m) {{ m = (u64)A; if (!m) return m; }} }}\n{end}"
    )


def nested(rule: Rule, end: str) -> str:
    return _function(
        f"if (!(D & {hexa(rule.dst)})) {{ if (!(S & {hexa(rule.src)}))"
        f" {{ if (!A) return 0; }} }}\n{end}"
    )


def bit_by_bit(rule: Rule, end: str) -> str:
    tests = "\n".join(
        f"if ({side}->vm_flags & BIT({bit})) goto copy;"
        for side, mask in _sides(rule)
        for bit in bits_of(mask)
    )
    return _function(f"{tests}\nif (A) goto copy;\nreturn 0;\ncopy:\n{end}")


def switched(rule: Rule, end: str) -> str:
    return _function(
        f"switch (!!(D & {hexa(rule.dst)}) | !!(S & {hexa(rule.src)}) << 1 | !!A << 2)"
        f" {{\ncase 0: return 0;\ndefault: {end}\n}}"
    )


def _tested(test: str, rule: Rule, end: str) -> str:
    tests = " || ".join(
        f"{test}({bit}, {side}->flags.bits)"
        for side, mask in _sides(rule)
        for bit in bits_of(mask)
    )
    return _function(f"if (!({tests} || A)) return 0;\n{end}")


def bitmap(rule: Rule, end: str) -> str:
    return _tested("test_bit", rule, end)


def bitmap_in_assembly(rule: Rule, end: str) -> str:
    return _tested("test_bit_asm", rule, end)


def _made_mask(attributes: str, rule: Rule, end: str) -> str:
    """7.3 makes masks out of lists of bits, which compilers turn into constants."""
    made = ""
    for side, mask in _sides(rule):
        bits = bits_of(mask)
        made += (
            f"{{ static const u8 list[] = {{ {', '.join(map(str, bits))} }};"
            " vma_flags_t m = { { 0 } }; u64 i;"
            f" for (i = 0; i < {len(bits)}; i++)"
            " m.bits[list[i] / 64] |= BIT(list[i] % 64);"
            f" if ({side}->flags.bits[0] & m.bits[0]) return true; }}\n"
        )
    return (
        f"{attributes} bool NAME_needs_copy(V *dst, V *src)\n{{\n{made}"
        "return A != 0;\n}\n"
        + _function(f"if (!NAME_needs_copy(dst, src)) return 0;\n{end}")
    )


def made_mask(rule: Rule, end: str) -> str:
    return _made_mask("inlined", rule, end)


def made_mask_helper(rule: Rule, end: str) -> str:
    return _made_mask("static noinline", rule, end)


def bitmap_walked(rule: Rule, end: str) -> str:
    """Word by word, as bitmap_intersects() does."""
    tests = "".join(
        f"for (i = 0; i < 1; i++) if ({side}->flags.bits[i] & {hexa(mask)}) found = true;\n"
        for side, mask in _sides(rule)
    )
    return _function(
        f"bool found = A != 0; int i;\n{tests}if (!found) return 0;\n{end}"
    )


def bits_walked(rule: Rule, end: str) -> str:
    tests = "".join(
        f"for (i = 0; i < 64; i++) if (({hexa(mask)} >> i & 1) &&"
        f" ({side}->vm_flags >> i & 1)) goto copy;\n"
        for side, mask in _sides(rule)
    )
    return _function(f"int i;\n{tests}if (!A) return 0;\ncopy:\n{end}")


def halves(rule: Rule, end: str) -> str:
    tests = " || ".join(
        f"({side}->half[{half}] & {mask >> 32 * half & 0xFFFFFFFF:#x}u)"
        for side, mask in _sides(rule)
        for half in (0, 1)
    )
    return _function(f"if (!({tests}) && !A) return 0;\n{end}")


def single_bytes(rule: Rule, end: str) -> str:
    tests = " || ".join(
        f"({side}->byte[{byte}] & {mask >> 8 * byte & 0xFF:#x})"
        for side, mask in _sides(rule)
        for byte in range(8)
        if mask >> 8 * byte & 0xFF
    )
    return _function(f"if (!({tests}) && !A) return 0;\n{end}")


def read_once(rule: Rule, end: str) -> str:
    return _function(
        "u64 d = READ_ONCE(D), s = READ_ONCE(S); void *anon = READ_ONCE(A);\n"
        f"if (!(d & {hexa(rule.dst)}) && !(s & {hexa(rule.src)}) && !anon) return 0;\n{end}"
    )


def branch_free(rule: Rule, end: str) -> str:
    return _function(
        f"u64 m = (D & {hexa(rule.dst)}) | (S & {hexa(rule.src)}) | (A != 0);\n"
        f"if (!m) return 0;\n{end}"
    )


def conditional(rule: Rule, end: str) -> str:
    return _function(
        f"bool c = !!(D & {hexa(rule.dst)}) | !!(S & {hexa(rule.src)}) | !!A;\n"
        f"if (c) {{ {end} }}\nreturn 0;"
    )


def counted(rule: Rule, end: str) -> str:
    return _function(
        f"int n = popcount(D & {hexa(rule.dst)})"
        f" + popcount(S & {hexa(rule.src)});\n"
        f"if (!n && !A) return 0;\n{end}"
    )


def hoisted(rule: Rule, end: str) -> str:
    """Kernels load a good deal at the top."""
    return _function(
        "u64 start = READ_ONCE(src->vm_start); struct mm_struct *mm = dst->vm_mm;\n"
        "bool cow = (S & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE;\n"
        f"if (!({condition(rule)}) && !A) return 0;\n"
        f"if (cow) copy_range(dst, src, start, mm->x);\n{end}"
    )


KERNEL_STYLES: tuple[Style, ...] = (
    *(one_if, inlined_helper, noinline_helper, made_mask, made_mask_helper),
    *(hoisted, anon_first, likely_skip),
)
_OTHER_STYLES: tuple[Style, ...] = (
    *(unlikely_helper, helper_of_values, copy_first, reused_value, nested),
    *(bit_by_bit, switched, bitmap, bitmap_in_assembly, bitmap_walked, bits_walked),
    *(halves, single_bytes, read_once, branch_free, conditional, counted),
)
_KERNEL_ENDINGS = ("call", "result", "huge", "walk")


def shapes() -> Iterator[Shape]:
    """Yield the rules of kernels in all ways, random rules in some."""
    styles = KERNEL_STYLES + _OTHER_STYLES
    endings = list(ENDINGS)
    for turn, (name, rule) in enumerate(KERNELS.items()):
        for number, style in enumerate(styles):
            chosen = {endings[(turn + number) % len(endings)], "walk"}
            if style in KERNEL_STYLES:
                chosen |= {"call"}
            for ending in sorted(chosen):
                yield Shape(
                    f"{name} {style.__name__} {ending}",
                    style(rule, ENDINGS[ending]),
                    rule,
                    plain=True,
                    kernels=style in KERNEL_STYLES and ending in _KERNEL_ENDINGS,
                )
    for turn, (name, rule) in enumerate(randomly(60)):
        style = styles[turn % len(styles)]
        ending = endings[turn % len(endings)]
        yield Shape(
            f"{name} {style.__name__} {ending}",
            style(rule, ENDINGS[ending]),
            rule,
            plain=True,
        )
