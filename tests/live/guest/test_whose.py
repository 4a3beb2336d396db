"""By cgroup: what its forks cost, how it is called, and what becomes of its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace.tracer.session import Session, Wanted
from tests.live.guest.programs import cgroups

PLACES = 2048


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
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
    session: Session, outer: Path
) -> None:
    before = sum(session.totals().forks.values())
    given_back = 0
    for number in range(PLACES + 100):
        ours = fork_in(outer / f"each-{number}", 1)
        if number % 64 == 63:
            gone = [each for each in session.totals().cgroups if "each-" in each.name]
            assert ours in {each.cgroup for each in gone}
            assert {each.forks for each in gone} == {1}
            session.forget_cgroups(each.cgroup for each in gone)
            given_back += len(gone)
    totals = session.totals()
    (shared,) = (each for each in totals.cgroups if each.cgroup == 0)
    assert shared.forks == 0
    left = sum("each-" in each.name for each in totals.cgroups)
    assert given_back + left == PLACES + 100
    # Each cgroup was entered by a fork of this process.
    assert sum(totals.forks.values()) - before == 2 * (PLACES + 100)
