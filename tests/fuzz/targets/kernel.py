"""What describes the kernel: kallsyms, kcore, its code and its BTF.

They come from the kernel, but of any version, patched by others, or hidden under what
somebody mounted over them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import lru_cache

from forktrace.errors import ForktraceError
from forktrace.kernel import symbols, text
from forktrace.kernel.btf import Btf
from forktrace.kernel.decision import Undecodable
from forktrace.kernel.rule import rule_from_btf
from forktrace.kernel.running import NEEDED
from tests.fuzz.target import Target, as_file
from tests.unit.kernel.fixtures import EXPECTED, Kernel, load

_KALLSYMS = b"""\
ffffffff81000000 T _stext
ffffffff81234500 T copy_page_range
ffffffff81234a00 t vma_needs_copy.isra.0
ffffffff81234a80 T kernel_clone
ffffffff81234b00 W __x86_return_thunk
ffffffffc0000000 t helper\t[module]
"""
_SYMBOL = symbols.Symbol("copy_page_range", 0xFFFFFFFF81000040, 16)
_MEMBERS = {"vm_area_struct": ("vm_start", "vm_flags", "anon_vma"), "mm_struct": ("x",)}


def _kallsyms(data: bytes) -> None:
    for _, found in symbols._scan(io.BytesIO(data), NEEDED):
        assert found.size >= 0


def _kcore(data: bytes) -> None:
    text.read_kcore(_SYMBOL, str(as_file("kcore", data)))


def _elf() -> bytes:
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = text._HEADER.pack(ident, 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    note = text._SEGMENT.pack(4, 4, 176, 0, 0, 8, 8, 0)
    load_ = text._SEGMENT.pack(1, 7, 176, 0xFFFFFFFF81000000, 0, 4096, 4096, 4096)
    return header + note + load_ + bytes(range(128))


@lru_cache(maxsize=1)
def _kernels() -> tuple[Kernel, ...]:
    return tuple(map(load, EXPECTED))


def _code(data: bytes) -> None:
    """Decode code; the first byte says whose layout goes with it."""
    kernels = _kernels()
    kernels[data[0] % len(kernels) if data else 0].decode(data[1:])


def _codes() -> Sequence[bytes]:
    return [bytes([i]) + each.function.code for i, each in enumerate(_kernels())]


def _btf(data: bytes) -> None:
    with Btf(str(as_file("btf", data))) as btf:
        for name, members in _MEMBERS.items():
            for member in members:
                try:
                    btf.offset(name, member, 8)
                except ForktraceError:
                    continue
        rule_from_btf(btf, "7.3.4")


def _described() -> bytes:
    """Return BTF of a kernel with the types that forktrace asks for."""
    names = [
        "", "int", "vm_area_struct", "vm_start", "vm_flags", "anon_vma", "vma_bits",
        "VMA_PFNMAP_BIT", "VMA_MIXEDMAP_BIT", "VMA_UFFD_WP_BIT", "long_t", "big",
        "VMA_MAYBE_GUARD_BIT",
    ]  # fmt: skip
    strings = b"".join(name.encode() + b"\0" for name in names)
    at = {name: strings.index(b"\0" + name.encode() + b"\0") + 1 for name in names[1:]}

    def one(name: str, kind: int, vlen: int, size: int, *more: int) -> bytes:
        head = (at.get(name, 0), kind << 24 | vlen, size)
        return struct.pack(f"<{3 + len(more)}I", *head, *more)

    types = (
        one("int", 1, 0, 8, 64)
        # 2: what holds it, 3: the anonymous union in it, 4: a typedef
        + one("vm_area_struct", 4, 2, 24, at["vm_start"], 1, 0, 0, 3, 64)
        + one("", 5, 2, 16, at["vm_flags"], 4, 0, at["anon_vma"], 5, 64)
        + one("long_t", 8, 0, 1)
        + one("", 2, 0, 1)
        + one("vma_bits", 6, 2, 4, at["VMA_PFNMAP_BIT"], 10, at["VMA_MIXEDMAP_BIT"], 28)
        + one("big", 19, 1, 8, at["VMA_UFFD_WP_BIT"], 12, 0)
    )
    header = struct.pack(
        "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)
    )
    return header + types + strings


TARGETS = (
    Target("kallsyms", _kallsyms, lambda: [_KALLSYMS]),
    Target("kcore", _kcore, lambda: [_elf()], (text.Unreadable,)),
    Target("code", _code, _codes, (Undecodable,)),
    Target("btf", _btf, lambda: [_described()]),
)
