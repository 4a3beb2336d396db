"""A mapping is named by what was told of it, with this fork or with an earlier one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forktrace.report import names
from forktrace.report.names import MappingNames
from tests.unit.recording.samples import fork, vma

HEAP, LIBRARY = vma(0x1000, "anon_vma", 1), vma(0x3000, "pfnmap", 1)
FORK = fork(0, details=(HEAP, LIBRARY))


def test_what_was_told_is_known_later_of_the_same_process_and_mapping() -> None:
    known = MappingNames()
    told = {0x1000: "[heap]", 0x3000: ""}
    assert known.of(FORK, {}) == {}
    assert known.of(FORK, {0x1000: "[heap]"}) == told
    assert known.of(FORK, {}) == told
    assert known.of(replace(FORK, pid=FORK.pid + 1), {}) == {}
    longer = replace(HEAP, end=HEAP.end + 4096)
    assert known.of(replace(FORK, details=(longer, LIBRARY)), {}) == {0x3000: ""}


def test_what_is_told_anew_counts() -> None:
    known = MappingNames()
    known.of(FORK, {0x1000: "[heap]"})
    assert known.of(FORK, {0x1000: "/new"})[0x1000] == "/new"


def test_the_oldest_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "_MOST", 4)
    known = MappingNames()
    for pid in range(10):
        known.of(replace(FORK, pid=pid), {0x1000: "[heap]"})
    assert known.of(replace(FORK, pid=0), {}) == {}
    assert known.of(replace(FORK, pid=9), {}) != {}
