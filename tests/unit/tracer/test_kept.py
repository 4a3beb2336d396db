"""What was compiled is found again by all that went into it, and by nothing less."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forktrace.libbpf import MapShape
from forktrace.tracer import kept
from forktrace.tracer.objects import Code, Compiled

INPUTS = ("int x;", "a header", "Linux-7.3", "17")
COMPILED = Compiled(
    maps={"slots": MapShape(2, 4, 800, 1024, 1 << 10), "events": MapShape(27, 0, 0, 1)},
    programs={"copy_entry": Code(bytes(range(16))), "copy_return": Code(b"\x95" * 8)},
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "forktrace"
    monkeypatch.setenv("CACHE_DIRECTORY", str(found))
    return found


def only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_what_was_kept_is_found() -> None:
    assert kept.find(INPUTS) is None
    kept.keep(INPUTS, COMPILED)
    assert kept.find(INPUTS) == COMPILED


@pytest.mark.parametrize("changed", range(len(INPUTS)))
def test_each_input_counts(changed: int) -> None:
    kept.keep(INPUTS, COMPILED)
    others = [text + "!" * (place == changed) for place, text in enumerate(INPUTS)]
    assert kept.find(others) is None


def test_only_its_user_may_read_it(folder: Path) -> None:
    kept.keep(INPUTS, COMPILED)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_file(folder).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_is_not_used(folder: Path, mode: int) -> None:
    kept.keep(INPUTS, COMPILED)
    folder.chmod(mode)
    assert kept.find(INPUTS) is None
    only_file(folder).unlink()
    kept.keep(INPUTS, COMPILED)
    assert not list(folder.iterdir())


def test_a_file_that_others_may_write_is_not_read(folder: Path) -> None:
    kept.keep(INPUTS, COMPILED)
    only_file(folder).chmod(0o606)
    assert kept.find(INPUTS) is None


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    kept.keep(INPUTS, COMPILED)
    file = only_file(folder)
    elsewhere = file.rename(tmp_path / "elsewhere")
    file.symlink_to(elsewhere)
    assert kept.find(INPUTS) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_not_read(folder: Path) -> None:
    kept.keep(INPUTS, COMPILED)
    os.chown(only_file(folder), 1, 1)
    assert kept.find(INPUTS) is None


@pytest.mark.parametrize("place", [0, 70, 100, -1])
def test_a_damaged_file_is_compiled_anew(folder: Path, place: int) -> None:
    kept.keep(INPUTS, COMPILED)
    damaged = bytearray(only_file(folder).read_bytes())
    damaged[place] ^= 1
    only_file(folder).write_bytes(damaged)
    assert kept.find(INPUTS) is None
    kept.keep(INPUTS, COMPILED)
    assert kept.find(INPUTS) == COMPILED


def test_a_file_cut_short_is_compiled_anew(folder: Path) -> None:
    kept.keep(INPUTS, COMPILED)
    os.truncate(only_file(folder), 90)
    assert kept.find(INPUTS) is None


def test_where_nothing_can_be_kept_nothing_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/dev/null/forktrace")
    kept.keep(INPUTS, COMPILED)
    assert kept.find(INPUTS) is None


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    kept.keep(INPUTS, COMPILED)
    assert not list(folder.iterdir())


def test_the_oldest_make_room(folder: Path) -> None:
    for number in range(20):
        kept.keep([*INPUTS, str(number)], COMPILED)
    assert len(list(folder.iterdir())) == 8
    assert kept.find([*INPUTS, "19"]) == COMPILED
    assert kept.find([*INPUTS, "0"]) is None
