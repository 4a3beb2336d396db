"""What bpf/forktrace.c must be told about this kernel, as C macros."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping

from forktrace.errors import Unsupported
from forktrace.kernel.abi import abi
from forktrace.kernel.btf import Btf
from forktrace.kernel.rule import Rule
from forktrace.tracer.layout import BUCKET_BOUNDS_NS, COMM_LEN, Layout

_OFFSETS = {
    "OFF_CLONE_FLAGS": ("kernel_clone_args", "flags", 8),
    "OFF_TASK_PID": ("task_struct", "pid", 4),
    "OFF_TASK_MM": ("task_struct", "mm", 8),
    "OFF_TASK_START_TIME": ("task_struct", "start_time", 8),
    "OFF_TASK_GROUP_LEADER": ("task_struct", "group_leader", 8),
    "OFF_TASK_VFORK_DONE": ("task_struct", "vfork_done", 8),
    "OFF_MM_MAP_COUNT": ("mm_struct", "map_count", 4),
    "OFF_MM_PGTABLES_BYTES": ("mm_struct", "pgtables_bytes", 8),
    "OFF_VMA_START": ("vm_area_struct", "vm_start", 8),
    "OFF_VMA_END": ("vm_area_struct", "vm_end", 8),
    "OFF_VMA_MM": ("vm_area_struct", "vm_mm", 8),
    "OFF_VMA_FLAGS": ("vm_area_struct", "vm_flags", 8),
    "OFF_VMA_ANON_VMA": ("vm_area_struct", "anon_vma", 8),
}
"""Struct, member, and the bytes that the program reads of it."""

_NAMES_OF_CGROUPS = {
    "OFF_TASK_CGROUPS": ("task_struct", "cgroups", 8),
    "OFF_CSS_SET_CGROUP": ("css_set", "dfl_cgrp", 8),
    "OFF_CGROUP_KN": ("cgroup", "kn", 8),
    "OFF_KERNFS_NAME": ("kernfs_node", "name", 8),
}
_PARENT = {"OFF_KERNFS_PARENT": ("kernfs_node", "parent", 8)}
# 6.15, commit 633488947ef6.
_RCU_PARENT = {"OFF_KERNFS_PARENT": ("kernfs_node", "__parent", 8)}


_HUGE_PAGES = {
    "OFF_VMA_FILE": ("vm_area_struct", "vm_file", 8),
    "OFF_FILE_INODE": ("file", "f_inode", 8),
    "OFF_INODE_BLKBITS": ("inode", "i_blkbits", 1),
}

_RUN_DELAY = {"OFF_TASK_RUN_DELAY": ("task_struct", "sched_info.run_delay", 8)}
"""Missing where CONFIG_SCHED_INFO is not set: no schedstats, no delay accounting."""


def macros(btf: Btf, rule: Rule, layout: Layout) -> dict[str, str]:
    """Return every macro that the program needs; raises Unsupported for an offset."""
    defined = _offsets(btf, _OFFSETS) | _names_of_cgroups(btf)
    for some in (_RUN_DELAY, _HUGE_PAGES):
        with contextlib.suppress(Unsupported):
            defined |= _offsets(btf, some)
    if has_registers(btf):
        defined["HAS_TASK_PT_REGS"] = "1"
    defined["REGISTERS"] = str(abi().registers.words)
    defined["SP"] = str(abi().registers.sp)
    defined["OFF_TASK_COMM"] = str(btf.text_offset("task_struct", "comm", COMM_LEN))
    defined["DST_MASK"] = f"{rule.dst_mask:#x}ULL"
    defined["SRC_MASK"] = f"{rule.src_mask:#x}ULL"
    defined["ROW_OF(bits)"] = packed(rule)
    defined["PAGE_BYTES"] = f"{mmap.PAGESIZE}ULL"
    defined["ROWS"] = str(layout.rows)
    defined["SLOTS"] = str(layout.slots)
    defined["COSTS"] = str(layout.costs)
    defined["CHILDREN"] = str(layout.children)
    defined["BUCKETS"] = str(len(BUCKET_BOUNDS_NS) + 1)
    defined["BUCKET_OF(ns)"] = " + ".join(
        f"((ns) > {bound}ULL)" for bound in BUCKET_BOUNDS_NS
    ).join("()")
    return defined


def has_registers(btf: Btf) -> bool:
    """Tell whether programs can read what a task has in its registers in user space.

    bpf_task_pt_regs() came with Linux 5.15, commit dd6e10fbd9fb.
    """
    return btf.has_name("BPF_FUNC_task_pt_regs")


def _offsets(btf: Btf, members: Mapping[str, tuple[str, str, int]]) -> dict[str, str]:
    return {
        name: str(btf.offset(struct, member, size))
        for name, (struct, member, size) in members.items()
    }


def _names_of_cgroups(btf: Btf) -> dict[str, str]:
    """Return where the names of cgroups are; nothing where the kernel has them not."""
    for parent in (_RCU_PARENT, _PARENT):
        with contextlib.suppress(Unsupported):
            return _offsets(btf, _NAMES_OF_CGROUPS | parent)
    return {}


def packed(rule: Rule) -> str:
    """Pack the rule's bits next to each other, the lowest first."""
    terms = [
        f"((((bits) >> {bit}) & 1) << {place})"
        for place, bit in enumerate(sorted(rule.bits))
    ]
    return "(" + " | ".join(terms or ["0"]) + ")"


def trigger_bits(rule: Rule, row: int) -> int:
    """Return the bits of vm_flags that row ``row`` stands for: ROW_OF backwards."""
    packed = row >> 1
    return sum(
        1 << bit for place, bit in enumerate(sorted(rule.bits)) if packed >> place & 1
    )
