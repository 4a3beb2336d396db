"""Cgroup ids are inode numbers of directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from forktrace.cgroups import CgroupPaths
from forktrace.errors import UsageError


@pytest.fixture
def paths(tmp_path: Path) -> CgroupPaths:
    (tmp_path / "system.slice/redis.service").mkdir(parents=True)
    return CgroupPaths(tmp_path)


def test_a_path_and_its_id_lead_to_each_other(paths: CgroupPaths) -> None:
    name = "/system.slice/redis.service"
    assert paths.path(paths.number(name)) == name
    assert paths.path(paths.number("/")) == "/"


def test_a_cgroup_made_later_is_found(paths: CgroupPaths, tmp_path: Path) -> None:
    paths.path(paths.number("/"))
    (tmp_path / "new").mkdir()
    assert paths.path((tmp_path / "new").stat().st_ino) == "/new"


def test_one_that_is_gone_keeps_its_number(paths: CgroupPaths) -> None:
    assert paths.path(123456789) == "#123456789"


def test_nonsense_is_wrong_usage(paths: CgroupPaths) -> None:
    with pytest.raises(UsageError, match="no cgroup"):
        paths.number("/nonsense")
