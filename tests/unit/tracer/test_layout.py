"""The ctypes structs mirror bpf/forktrace.c."""

from __future__ import annotations

import ctypes
import re
from math import prod
from typing import Any

import pytest

from forktrace.model import CGROUP_NAME, PARTS
from forktrace.tracer.compiler import bpf_folder
from forktrace.tracer.layout import (
    BUCKET_BOUNDS_NS,
    CHOICES,
    ERRNOS,
    LOST_STAGES,
    SOURCES,
    WATCHED_CGROUPS,
    WAYS,
    WHOSE,
    CgroupNames,
    Child,
    Config,
    Cost,
    Layout,
    Row,
    VmaEvent,
)

LAYOUT = Layout(rule_bits=5)
TEXT = (bpf_folder() / "forktrace.c").read_text()
LENGTHS = {
    "2": 2,
    "16": 16,
    "CGROUP_NAME": CGROUP_NAME,
    "CHOICES": CHOICES,
    "ERRNOS": ERRNOS,
    "PARTS": len(PARTS),
    "ROWS": LAYOUT.rows,
    "BUCKETS": len(BUCKET_BOUNDS_NS) + 1,
    "LOST_STAGES": len(LOST_STAGES),
    "SOURCES": len(SOURCES),
    "WATCHED_CGROUPS": WATCHED_CGROUPS,
}
SIZES = {"u32": 4, "u64": 8, "s64": 8, "char": 1, "struct row": ctypes.sizeof(Row)}


def members(name: str) -> list[tuple[str, int]]:
    """Return name and size in bytes of each member of a struct in the C file."""
    body = re.search(rf"^struct {name} {{(.*?)^}};", TEXT, re.DOTALL | re.MULTILINE)
    assert body
    plain = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    found = re.findall(r"(struct row|\w+) (\w+)((?:\[\w+\])*);", plain)
    return [
        (
            member,
            SIZES[kind] * prod(LENGTHS[each] for each in lengths[1:-1].split("][")),
        )
        if lengths
        else (member, SIZES[kind])
        for kind, member, lengths in found
    ]


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        ("row", Row),
        ("vma_event", VmaEvent),
        ("config", Config),
        ("cost", Cost),
        ("comm_rows", LAYOUT.CommRows),
        ("cgroup_names", CgroupNames),
        ("child", Child),
        ("fork_slot", LAYOUT.ForkSlot),
        ("totals", LAYOUT.KernelTotals),
    ],
)
def test_every_member_has_its_twin(name: str, mirror: Any) -> None:
    twins = [(field, ctypes.sizeof(kind)) for field, kind, *_ in mirror._fields_]
    assert twins == members(name)


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        ("lost", ("LOST_", LOST_STAGES)),
        ("source", ("BY_", SOURCES)),
        ("way", ("BY_", WAYS)),
        ("whose", ("BY_", WHOSE)),
    ],
)
def test_the_names_of_an_enum_stand_in_its_order(
    enum: str, names: tuple[str, tuple[str, ...]]
) -> None:
    body = re.search(rf"enum {enum} {{(.*?)}};", TEXT, re.DOTALL)
    assert body
    prefix, expected = names
    told = [word.strip() for word in body[1].split(",")]
    assert told[:-1] == [prefix + name.upper() for name in expected]


@pytest.mark.parametrize("bits", range(9))
def test_slots_are_a_power_of_two_and_stay_within_their_memory(bits: int) -> None:
    layout = Layout(bits)
    assert layout.slots & (layout.slots - 1) == 0
    assert 64 <= layout.slots <= 1024
    assert layout.slots * ctypes.sizeof(layout.ForkSlot) <= 8 << 20
