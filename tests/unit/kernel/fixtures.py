"""The kernels of tests/unit/kernel/code: real code and layout, and what is in them.

``python -m tests.unit.kernel.capture`` made each file on its own kernel, all but
6.18.44's: that one's text was read through a BPF program, having no /proc/kcore. Those
for arm64 come from the images in Debian's packages instead: vmlinux-to-elf found the
symbols, and between __start_BTF and __stop_BTF lies the BTF. So they are as compiled,
without what a kernel patches when it boots. So are 7.3.4-gcc-kasan-kcov (GCC 12.2 with
CONFIG_KASAN_INLINE, KCOV and UBSAN) and 7.3.4-clang-no-userfaultfd (clang 19 with CFI,
without USERFAULTFD): mm/memory.o of Debian's sources, linked alone, with ftrace's nop.
7.3.4-clang-cfi (clang 19 with CFI and call padding) was captured as it ran.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forktrace.kernel.arch import architecture
from forktrace.kernel.decision import Decision, Side
from forktrace.kernel.decode import decode
from forktrace.kernel.emulation import Layout
from forktrace.kernel.text import Text

FOLDER = Path(__file__).parent / "code"

PFNMAP, GUARD, WP, HUGETLB, MIXEDMAP, RWP = 10, 11, 12, 22, 28, 43

UP_TO_5_18: dict[int, Side] = {PFNMAP: "src", HUGETLB: "src", MIXEDMAP: "src"}
FROM_6_0: dict[int, Side] = {PFNMAP: "src", WP: "dst", MIXEDMAP: "src"}
FROM_6_19: dict[int, Side] = dict.fromkeys((PFNMAP, GUARD, WP, MIXEDMAP), "dst")
FROM_7_3: dict[int, Side] = {**FROM_6_19, RWP: "dst"}

# release: (the rule in mm/memory.c, where the path that copies begins). The places were
# read off the disassembly by eye, once; several agree with other people's probes.
EXPECTED: dict[str, tuple[dict[int, Side], tuple[int, ...]]] = {
    "5.10.0-46-cloud-amd64": (UP_TO_5_18, (0x5A,)),
    "6.1.0-56-cloud-amd64": (FROM_6_0, (0x8D,)),
    "6.12.117+deb13-cloud-amd64": (FROM_6_0, (0xC9, 0x2B9)),
    "6.16.12+deb13-cloud-amd64": (FROM_6_0, (0xBA,)),
    "6.17.13+deb13-cloud-amd64": (FROM_6_0, (0xB3,)),
    "6.18.15+deb13-cloud-amd64": (FROM_6_0, (0xB3,)),
    "6.18.15+deb13-rt-amd64": (FROM_6_0, (0xB4,)),
    "6.18.44": (FROM_6_19, (0x97,)),
    "6.19.14+deb13-cloud-amd64": (FROM_6_19, (0xA9,)),
    "7.0.13+deb13-cloud-amd64": (FROM_6_19, (0x98,)),
    "7.1.13+deb13-cloud-amd64": (FROM_6_19, (0x9A,)),
    "7.2.12+deb13-cloud-amd64": (FROM_6_19, (0x9B,)),
    "7.3.4+deb13-cloud-amd64": (FROM_7_3, (0xA7,)),
    "7.3.4+deb13-amd64": (FROM_7_3, (0xA7,)),
    "7.3.4+deb13-rt-amd64": (FROM_7_3, (0xA4,)),
    "6.1.0-56-cloud-arm64": (FROM_6_0, (0x80,)),
    "6.12.118+deb13-cloud-arm64": (FROM_6_0, (0x7C,)),
    "6.18.15+deb13-cloud-arm64": (FROM_6_0, (0x7C,)),
    "6.19.14+deb13-cloud-arm64": (FROM_6_19, (0x78,)),
    "7.3.4+deb13-cloud-arm64": (FROM_7_3, (0x80,)),
    "7.3.4+deb13-arm64-16k": (FROM_7_3, (0x80,)),
    "7.3.4-symbol": (FROM_7_3, (0x5C,)),
    "7.3.4-isra": (FROM_7_3, (0x5A,)),
    "7.3.4-clang-cfi": (FROM_7_3, (0x63,)),
    "7.3.4-gcc-kasan-kcov": (FROM_7_3, (0x12C,)),
    "7.3.4-clang-no-userfaultfd": (FROM_6_19, (0x5A,)),
}

# Without it no VMA has the bit of RWP: what the release alone tells is right as well.
AS_RELEASED = sorted(set(EXPECTED) - {"7.3.4-clang-no-userfaultfd"})


@dataclass(frozen=True)
class Kernel:
    """One kernel of the fixtures, ready for the decoder."""

    name: str
    machine: str
    layout: Layout
    function: Text
    callees: tuple[Text, ...]
    thunks: frozenset[int]
    vma_bits: dict[str, int]
    instrumentation: dict[str, int]

    def decode(self, code: bytes | None = None) -> Decision:
        """Decode copy_page_range, or other bytes in its place."""
        function = self.function
        if code is not None:
            function = function._replace(code=code)
        arch = architecture(self.machine)
        assert arch
        texts = (function, *self.callees)
        return decode(arch, texts, self.layout, self.thunks, self.name_at)

    def name_at(self, address: int) -> str:
        """Name what compilers had called there."""
        return next((n for n, at in self.instrumentation.items() if at == address), "")


def load(name: str) -> Kernel:
    raw: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    texts = {
        function: Text(function, entry["address"], bytes.fromhex(entry["code"]))
        for function, entry in raw["functions"].items()
    }
    function = texts.pop("copy_page_range")
    return Kernel(
        name,
        raw["machine"],
        Layout(**raw["vm_area_struct"]),
        function,
        tuple(texts.values()),
        frozenset(raw["return_thunks"]),
        raw["vma_bits"],
        raw.get("instrumentation", {}),
    )
