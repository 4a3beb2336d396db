"""Cgroup ids are inode numbers of directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forktrace import cgroups
from forktrace.cgroups import CgroupPaths
from forktrace.errors import UsageError
from tests.unit.clocks import StoppedClock


@pytest.fixture
def paths(tmp_path: Path) -> CgroupPaths:
    (tmp_path / "system.slice/redis.service").mkdir(parents=True)
    return CgroupPaths(tmp_path)


def test_a_path_and_its_id_lead_to_each_other(paths: CgroupPaths) -> None:
    name = "/system.slice/redis.service"
    assert paths.path(paths.folder(name).stat().st_ino) == name
    assert paths.path(paths.folder("/").stat().st_ino) == "/"


def test_a_cgroup_made_later_is_found(paths: CgroupPaths, tmp_path: Path) -> None:
    paths.path(paths.folder("/").stat().st_ino)
    (tmp_path / "new").mkdir()
    assert paths.path((tmp_path / "new").stat().st_ino) == "/new"


def test_one_that_is_gone_keeps_its_number(paths: CgroupPaths) -> None:
    assert paths.path(123456789) == "#123456789"


def test_one_that_went_away_keeps_its_name(paths: CgroupPaths, tmp_path: Path) -> None:
    gone = tmp_path / "system.slice/redis.service"
    number = gone.stat().st_ino
    paths.path(number)
    gone.rmdir()
    paths.path(123456789)
    assert paths.path(number) == "/system.slice/redis.service"


def test_a_large_tree_is_not_searched_again_at_once(
    paths: CgroupPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = []
    clock = StoppedClock(monkeypatch, cgroups)

    def slow_walk(root: Path) -> list[tuple[str, list[str], list[str]]]:
        walks.append(root)
        clock.now += 0.01
        return []

    monkeypatch.setattr(os, "walk", slow_walk)
    for number in range(100):
        assert paths.path(number + 1) == f"#{number + 1}"
        clock.now += 0.0005
    assert len(walks) == 1


def test_nonsense_is_wrong_usage(paths: CgroupPaths) -> None:
    with pytest.raises(UsageError, match="no cgroup"):
        paths.folder("/nonsense")
