"""The kernel's own list of kprobes: whether forktrace's witness is among them."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from forktrace.kernel.btf import Btf
from forktrace.kernel.running import RunningKernel
from forktrace.tracer.kernel_text import read_text
from forktrace.tracer.witness import require_witness

KPROBES = Path("/sys/kernel/debug/kprobes/list")


def witnessed() -> bool:
    """Tell whether a kprobe hangs where this kernel's decision shows.

    copy_page_range() may have others: one that counts pinned pages.
    """
    return bool(_places().search(KPROBES.read_text()))


@lru_cache(maxsize=1)
def _places() -> re.Pattern[str]:
    with Btf.of_running_kernel() as btf:
        witness = require_witness(RunningKernel.read(btf, read_text))
    if witness.source == "return":
        return re.compile(rf"\b{re.escape(witness.function)}\b")
    offsets = "|".join(f"{offset:#x}" for offset in witness.offsets)
    return re.compile(rf"\b{witness.function}\+(?:{offsets})\b")
