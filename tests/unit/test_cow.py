"""What copy-on-write cost: through a recording, in words, added up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from forktrace.cow import Cow, CowCost
from forktrace.recording.names import with_names
from forktrace.report.command import read
from forktrace.views.cow import cow_lines, lines
from tests.unit.recording.samples import COW, MS, fork, write


def test_it_comes_back_from_json() -> None:
    for cow in (COW, replace(COW, parents=None)):
        assert Cow.from_json(cow.to_json()) == cow


def test_a_child_is_told_in_lines() -> None:
    assert cow_lines(COW) == [
        "    child 1000 of redis-server[42] ended after 12 s; its memory was freed in "
        "40 ms. Copied on write:",
        "        by the parent 4.82 MiB in 19 ms (1,234 faults), 2 huge pages split in "
        "3 ms",
        "        by the child  48 KiB in 210 µs (12 faults)",
        "        0x7f0000000000 [anonymous]: 4.69 MiB in 21 ms by the parent, 8 KiB in "
        "30 µs by the child",
        "        0x560000000000 [heap]: 136 KiB in 1 ms by the parent, 40 KiB in "
        "180 µs by the child",
    ]


def test_a_parent_that_ended_first_is_not_known() -> None:
    cow = replace(COW, parents=None, child=CowCost(), execs=True)
    first, parent, child, *_ = cow_lines(cow)
    assert "called exec" in first
    assert parent == "        by the parent is not known: it ended first"
    assert child == "        by the child  nothing"


def test_a_report_adds_up_by_process(tmp_path: Path) -> None:
    other = replace(COW, comm="a\x1bb", parents=None, teardown_ns=MS)
    study = read(write(tmp_path / "r", [fork(1)], execs=[COW, COW, other]))
    assert [line.split() for line in lines(study, 79)[2:5]] == [
        ["COMM", "CHILDREN", "PARENT", "IN", "CHILD", "IN", "SPLITS", "FREED", "IN"],
        [
            *("redis-server", "2", "9.64", "MiB", "38", "ms", "96", "KiB"),
            *("420", "µs", "4", "80", "ms"),
        ],
        [
            *("a\\x1bb", "1", "0", "B", "0", "ns", "48", "KiB"),
            *("210", "µs", "0", "1", "ms"),
        ],
    ]
    assert max(map(len, lines(study, 79))) <= 79
    assert study.cow[1].parents_unknown == 1


def test_a_report_adds_up_by_mapping(tmp_path: Path) -> None:
    gone = replace(COW, mappings=(replace(COW.mappings[0], name=None),))
    study = read(write(tmp_path / "r", [fork(1)], execs=[COW, COW, gone]))
    assert lines(study, 79)[-6:] == [
        "Copied on write, by mapping:",
        "COMM               PARENT      IN     CHILD      IN  MAPPING",
        "redis-server     9.38 MiB   42 ms    16 KiB   60 µs  [anonymous]",
        "redis-server     4.69 MiB   21 ms     8 KiB   30 µs  (name not known)",
        "redis-server      272 KiB    2 ms    80 KiB  360 µs  [heap]",
        "redis-server      136 KiB    1 ms    40 KiB  180 µs  (others)",
    ]


def test_a_mapping_has_the_name_of_what_holds_its_address(tmp_path: Path) -> None:
    (tmp_path / "42").mkdir()
    (tmp_path / "42/maps").write_text(
        "55f000000000-57f000000000 rw-p 00000000 00:00 0      [heap]\n"
        "7eff00000000-7f0100000000 rw-p 00000000 00:00 0 \n"
    )
    unnamed = tuple(replace(each, name=None) for each in COW.mappings)
    cow = replace(COW, mappings=unnamed)
    assert with_names(cow, tmp_path) == COW
    assert with_names(replace(cow, parent=43), tmp_path).mappings == unnamed


def test_without_any_there_is_no_table(tmp_path: Path) -> None:
    assert lines(read(write(tmp_path / "r", [fork(1)])), 79) == []
