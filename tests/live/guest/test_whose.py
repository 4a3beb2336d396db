"""By cgroup: what its forks cost, how it is called, and what becomes of its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace.tracer.layout import Layout
from forktrace.tracer.session import Session, Wanted
from tests.live.guest.programs import cgroups

PLACES, MORE = 16, 40
"""How many a small table has, and how many cgroups want one."""


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(decision="rule", wanted=Wanted()) as started:
        yield started


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(Layout, "costs", PLACES)
    with Session(decision="rule", wanted=Wanted()) as started:
        yield started


@pytest.fixture
def outer(tmp_path: Path) -> Iterator[Path]:
    with cgroups(tmp_path) as root:
        folder = root / "forktrace-outer"
        folder.mkdir()
        try:
            yield folder
        finally:
            folder.rmdir()


def fork_in(folder: Path, forks: int) -> int:
    """Make a cgroup, fork in it, and remove it; return its id."""
    folder.mkdir()
    try:
        pid = os.fork()
        if not pid:
            (folder / "cgroup.procs").write_text("0")
            for _ in range(forks):
                child = os.fork()
                if not child:
                    os._exit(0)
                os.waitpid(child, 0)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        return folder.stat().st_ino
    finally:
        folder.rmdir()


def test_a_cgroup_has_its_forks_and_its_name_when_it_is_gone(
    session: Session, outer: Path
) -> None:
    number = fork_in(outer / "inner", 3)
    totals = session.totals()
    (ours,) = (each for each in totals.cgroups if each.cgroup == number)
    assert (ours.name, ours.parent, ours.forks) == ("inner", outer.name, 3)
    assert ours.page_table_bytes > 0
    counted = sum(each.forks for each in totals.cgroups)
    assert counted == sum(each.forks for each in totals.processes)
    assert counted == sum(totals.forks.values())

    session.forget_cgroups([number])
    assert number not in {each.cgroup for each in session.totals().cgroups}


@pytest.mark.thorough
def test_places_that_were_given_back_are_taken_again(
    small: Session, outer: Path
) -> None:
    for number in range(MORE):
        ours = fork_in(outer / f"each-{number}", 1)
        found = {each.cgroup: each for each in small.totals().cgroups}
        assert found[ours].name == f"each-{number}"
        assert (found[ours].forks, found[0].forks) == (1, 0)
        small.forget_cgroups([ours])


@pytest.mark.thorough
def test_cgroups_that_find_no_place_are_added_up_together(
    small: Session, outer: Path
) -> None:
    for number in range(MORE):
        fork_in(outer / f"each-{number}", 1)
    totals = small.totals()
    found = {each.cgroup: each for each in totals.cgroups}
    assert len(found) == PLACES + 1
    assert found[0].forks >= MORE - PLACES
    counted = sum(each.forks for each in totals.cgroups)
    assert counted == sum(totals.forks.values()) >= 2 * MORE
