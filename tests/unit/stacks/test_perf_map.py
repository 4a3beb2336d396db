"""Names of JIT-compiled code, from a file that any process may have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forktrace.stacks.perf_map import PerfMap

OURS = frozenset({os.getuid()})
TEXT = """\
7f0000001000 40 py::main:/srv/app.py
0x00007f0000001040 0x0000000000000020 LFoo;::bar(int, Object)
no line of a map
7f0000002000 10 older
7f0000002000 8 newer
"""


def read(root: Path, owners: frozenset[int] = OURS) -> PerfMap:
    names = PerfMap(root, 7, owners)
    names.refresh()
    return names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp" / "perf-7.map"


@pytest.fixture
def names(tmp_path: Path, path: Path) -> PerfMap:
    path.write_text(TEXT)
    return read(tmp_path)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0x7F0000000FFF, ""),
        (0x7F0000001000, "py::main:/srv/app.py"),
        (0x7F000000103F, "py::main:/srv/app.py"),
        (0x7F0000001040, "LFoo;::bar(int, Object)"),
        (0x7F0000001060, ""),
        (0x7F0000002007, "newer"),
        (0x7F0000002008, ""),
    ],
)
def test_an_address_has_the_name_of_the_function_around_it(
    names: PerfMap, address: int, name: str
) -> None:
    assert names.name(address) == name


def test_what_is_compiled_later_is_found(names: PerfMap, path: Path) -> None:
    assert names.name(0x9000) == ""
    with path.open("a") as more:
        more.write("9000 10 later\n")
    names.refresh()
    assert names.name(0x9000) == "later"


def test_without_a_map_nothing_has_a_name(tmp_path: Path) -> None:
    assert read(tmp_path).name(0x1000) == ""


def test_a_map_of_another_user_is_not_believed(tmp_path: Path, path: Path) -> None:
    path.write_text(TEXT)
    assert read(tmp_path, frozenset({os.getuid() + 1})).name(0x7F0000001000) == ""


def test_neither_a_pipe_nor_a_link_is_opened(tmp_path: Path, path: Path) -> None:
    os.mkfifo(path)
    assert read(tmp_path).name(0x7F0000001000) == ""
    path.unlink()
    (tmp_path / "elsewhere").write_text(TEXT)
    path.symlink_to(tmp_path / "elsewhere")
    assert read(tmp_path).name(0x7F0000001000) == ""


def test_bytes_that_are_no_text_are_written_out(tmp_path: Path, path: Path) -> None:
    path.write_bytes(b"1000 10 caf\xe9\n")
    assert read(tmp_path).name(0x1000) == "caf\\xe9"
