"""Studies that the page and its plots are tried with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.model import Fork, TriggerCost
from forktrace.recording.records import Filters
from forktrace.report import aggregate
from forktrace.report.command import read
from forktrace.report.study import Study
from tests.unit.recording.samples import DETAILED, HEADER, MS, fork, write
from tests.unit.views.samples import EVIL, study_of


def _of_each_kind() -> list[Fork]:
    forks = [DETAILED, *(fork(n, n * MS // 9, comm=f"job-{n}") for n in range(1, 40))]
    forks.append(fork(40, trigger="maybe_guard", comm="java"))
    both = TriggerCost("uffd_wp", True, 1, MS, 0)
    forks.append(replace(fork(41), triggers=(both,)))
    return forks


def _alike(count: int) -> list[Fork]:
    return [fork(n, (n % 90 + 1) * MS) for n in range(count)]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_of(tmp_path, _of_each_kind())


@pytest.fixture
def _few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no more than the 10 longest forks one by one, where they are many."""
    monkeypatch.setattr(aggregate, "_ALL_POINTS", 100)
    monkeypatch.setattr(aggregate, "_LONGEST_POINTS", 10)


@pytest.fixture
def many(tmp_path: Path, _few_points: None) -> Study:
    return study_of(tmp_path, _alike(500))


@pytest.fixture
def crowd(tmp_path: Path, _few_points: None) -> Study:
    """Return many forks of each kind: a page with all that a page may have."""
    return study_of(tmp_path, [*_of_each_kind(), *_alike(500)])


@pytest.fixture
def evil(tmp_path: Path) -> Study:
    """Return a recording in which everything that can be named is named badly."""
    detail = DETAILED.details or ()
    forks = [
        replace(
            DETAILED,
            comm=EVIL,
            cgroup=EVIL,
            triggers=(TriggerCost(EVIL, False, 2, 9 * MS, 0),),
            details=tuple(replace(vma, trigger=EVIL, flags=(EVIL,)) for vma in detail),
        )
    ]
    rule = replace(HEADER.rule, words=EVIL, read_from=EVIL)
    header = replace(
        HEADER,
        host=EVIL,
        release=EVIL,
        arch=EVIL,
        attach=EVIL,
        decision=EVIL,
        rule=rule,
        filters=Filters(comms=(EVIL,), cgroups=(EVIL,)),
    )
    found = read(write(tmp_path / "r", forks, header=header))
    (dear,) = found.costliest
    dear = replace(dear, names={vma.start: EVIL for vma in detail})
    shares = tuple(replace(share, mapping=EVIL) for share in found.shares)
    return replace(found, costliest=(dear,), shares=shares, lost={EVIL: 1})
