"""What to do, by what cost most: the same as explain says of such a process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.model import Fork, TriggerCost
from forktrace.views.advice import advice
from forktrace.views.html.summary import summary
from tests.unit.recording.samples import DETAILED, MS, fork
from tests.unit.views.html.parts import Parts
from tests.unit.views.samples import study_of


def said(folder: Path, forks: Iterable[Fork]) -> str:
    return " ".join(advice(study_of(folder, forks)))


@pytest.mark.parametrize(
    ("trigger", "told"),
    [
        ("maybe_guard", "Take the guard pages out of file and shared mappings"),
        ("uffd_wp+uffd_rwp", "Open the userfaultfd without UFFD_FEATURE_EVENT_FORK"),
        (
            "pfnmap",
            "Run forktrace explain PID to see what can be done in redis-server.",
        ),
        (
            "uffd_wp+pfnmap",
            "Run forktrace explain PID to see what can be done in redis-server.",
        ),
        (
            "anon_vma",
            "Run forktrace explain PID to see what can be done in redis-server.",
        ),
    ],
)
def test_it_depends_on_the_trigger(tmp_path: Path, trigger: str, told: str) -> None:
    assert told in said(tmp_path, [fork(trigger=trigger)])


def test_a_flag_that_is_not_alone_cannot_be_helped_alone(tmp_path: Path) -> None:
    both = TriggerCost("uffd_wp", True, 1, 9 * MS, 0)
    assert "EVENT_FORK" not in said(tmp_path, [replace(fork(), triggers=(both,))])


def test_a_mapping_is_named_that_children_can_do_without(tmp_path: Path) -> None:
    found = study_of(tmp_path, [DETAILED])
    assert found.shares[0].mapping == "[heap]"
    assert "DONTFORK" not in advice(found)[0]
    cache = replace(found.shares[0], mapping="/dev/shm/cache")
    assert advice(replace(found, shares=(cache,))) == [
        "Use madvise(MADV_DONTFORK) on /dev/shm/cache there, if the child does not use "
        "that memory."
    ]
    rest = replace(cache, mapping="/b", copy_ns=cache.copy_ns + 1)
    assert "/b" in advice(replace(found, shares=(rest, cache)))[0]
    some = [replace(cache, mapping=f"/{n}") for n in range(3)]
    assert "DONTFORK" not in advice(replace(found, shares=tuple(some)))[0]


def test_where_copying_is_not_what_costs_there_is_none(tmp_path: Path) -> None:
    assert said(tmp_path, [fork(0, 10 * MS, copy_ns=MS)]) == ""
    assert said(tmp_path, []) == ""


def test_the_page_has_it(tmp_path: Path) -> None:
    forks = [fork(n, trigger="maybe_guard") for n in range(9)]
    text = Parts(summary(study_of(tmp_path, forks), "")).text
    assert "Take the guard pages out of" in text


def test_none_of_many_alike_is_sent_to_explain(tmp_path: Path) -> None:
    many = [fork(number, comm=f"worker-{number}") for number in range(10)]
    assert said(tmp_path, many) == ""
