"""Cgroup ids are inode numbers of directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from forktrace.cgroups import paths as module
from forktrace.cgroups.paths import CgroupPaths
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


def test_each_of_a_deep_and_broad_tree_is_found(tmp_path: Path) -> None:
    names = {f"/{a}.slice/{b}/{c}" for a in "abc" for b in "de" for c in "fgh"}
    for name in names:
        (tmp_path / name[1:]).mkdir(parents=True)
        (tmp_path / name[1:] / "cgroup.procs").touch()
    paths = CgroupPaths(tmp_path)
    found = {paths.path((tmp_path / name[1:]).stat().st_ino) for name in names}
    assert found == names


def test_those_that_are_gone_are_told_where_all_are_seen(
    paths: CgroupPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {each.stat().st_ino for each in (tmp_path, *tmp_path.rglob("*"))}
    assert paths.gone({*here, 123456789}) == set(), "a part of all"
    monkeypatch.setattr(module, "_ROOTS_NUMBER", tmp_path.stat().st_ino)
    assert paths.gone({*here, 123456789}) == {123456789}


def test_a_large_tree_is_not_searched_again_at_once(
    paths: CgroupPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = []
    clock = StoppedClock(monkeypatch, module)

    def slow_look(folder: str) -> NoReturn:
        walks.append(folder)
        clock.now += 0.01
        raise OSError

    monkeypatch.setattr(os, "scandir", slow_look)
    for number in range(100):
        assert paths.path(number + 1) == f"#{number + 1}"
        clock.now += 0.0005
    assert len(walks) == 1


def test_nonsense_is_wrong_usage(paths: CgroupPaths) -> None:
    with pytest.raises(UsageError, match="no cgroup"):
        paths.folder("/nonsense")
