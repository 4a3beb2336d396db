"""The cgroups of units: found by name or path, and again when they come anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from forktrace.cgroups.watched import LOOK_SECONDS, WatchedUnits


class Told:
    """What was told, each time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.each: list[Sequence[int]] = []

    def __call__(self, numbers: Sequence[int]) -> None:
        self.each.append(numbers)

    def are(self, *paths: str) -> bool:
        return self.each[-1] == sorted((self.root / p).stat().st_ino for p in paths)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    for path in ("system.slice/redis.service/below", "system.slice/cron.service"):
        (tmp_path / path).mkdir(parents=True)
    return Told(tmp_path)


REDIS = ("system.slice/redis.service", "system.slice/redis.service/below")


@pytest.mark.parametrize(
    "unit", ["redis.service", "/system.slice/redis.service", *REDIS[:1]]
)
def test_a_unit_has_its_cgroup_and_what_is_below(unit: str, told: Told) -> None:
    WatchedUnits([unit], 64, told, told.root)
    assert told.are(*REDIS)


def test_a_path_is_no_beginning_of_a_name(told: Told) -> None:
    WatchedUnits(["system.slice/redis"], 64, told, told.root)
    assert told.each == []


def test_one_that_is_not_there_yet_is_said_and_found_later(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    units = WatchedUnits(["late.service"], 64, told, told.root)
    assert "no unit or cgroup late.service yet" in capsys.readouterr().err
    (told.root / "late.service").mkdir()
    units.tick(units._again - LOOK_SECONDS / 2)
    assert told.each == []
    units.tick(units._again)
    assert told.are("late.service")


def test_a_unit_that_is_started_again_is_told_once(told: Told) -> None:
    units = WatchedUnits(["cron.service"], 64, told, told.root)
    cron = told.root / "system.slice/cron.service"
    units.tick(units._again)
    assert len(told.each) == 1
    (told.root / "in its place").mkdir()  # or the number might be the same
    cron.rmdir()
    (told.root / "and another").mkdir()
    cron.mkdir()
    units.tick(units._again)
    assert told.are("system.slice/cron.service")


def test_more_than_can_be_watched_are_said(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    units = WatchedUnits(["redis.service"], 1, told, told.root)
    units.tick(units._again)
    assert [len(numbers) for numbers in told.each] == [1]
    assert capsys.readouterr().err.count("2 cgroups are to be watched; 1 of them") == 1
