"""What the kernel's code tells of its decision to copy, or why it does not tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Side = Literal["dst", "src"]

RETURN_THUNKS = (
    "__x86_return_thunk",
    "retbleed_return_thunk",
    "srso_return_thunk",
    "srso_alias_return_thunk",
    "its_return_thunk",
    "call_depth_return_thunk",
)
"""What a ``ret`` may have been patched into, arch/x86/kernel/alternative.c."""

INSTRUMENTATION = (
    "__fentry__",
    "__sanitizer_cov_trace_",
    "__asan_load",
    "__asan_store",
    "__hwasan_load",
    "__hwasan_store",
    "__tsan_func_",
    "__tsan_read",
    "__tsan_write",
    "__tsan_unaligned_",
    "__tsan_volatile_",
    "__kcsan_check_",
)
"""How functions begin whose calls compilers add, and which return nothing."""
REPORTS = ("__asan_report_", "__hwasan_report_", "__ubsan_handle_", "__stack_chk_fail")
"""How functions begin that report a fault of the kernel's own."""


class Undecodable(Exception):
    """Why the code does not tell the rule, in a few words."""


@dataclass(frozen=True)
class Decision:
    """The decision to copy as found in the code.

    ``bits`` maps bit numbers to the VMA that is asked. ``branches`` are offsets into
    copy_page_range, in bytes: of these instructions one runs, once, when the kernel
    decided to copy, and none otherwise. Mostly it is a single one; none when there are
    no such places.
    """

    bits: Mapping[int, Side]
    branches: tuple[int, ...]
