"""Who called fork: added up from a recording, as text and as a flame graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from forktrace.model import Fork
from forktrace.report.command import read
from forktrace.report.study import Study
from forktrace.stacks.frames import Frame, Stack
from forktrace.views.callers import tree
from forktrace.views.html.sections import sections
from forktrace.views.lines import stack_lines
from forktrace.views.plots import callers_plot
from tests.unit.recording.samples import MS, STACK, fork, write


def by(*functions: str, cut: bool = False) -> Stack:
    """Return a stack, its outermost function first."""
    frames = (Frame(name, "/usr/bin/server", 16) for name in reversed(functions))
    return Stack(tuple(frames), cut)


def of(folder: Path, forks: Iterable[Fork]) -> Study:
    return read(write(folder / "r", forks, execs=()))


def test_a_branch_is_a_row_and_what_it_shares_is_said_once(tmp_path: Path) -> None:
    forks = [
        replace(fork(1, 20 * MS), stack=by("main", "serve", "save", "fork")),
        replace(fork(2, 10 * MS), stack=by("main", "serve", "scripts", "fork")),
        replace(fork(3, 70 * MS, comm="sh"), stack=by("main", "eval", "fork")),
    ]
    assert tree(of(tmp_path, forks), 79) == [
        "",
        "      TIME    FORKS    TABLES  CALLERS",
        "     70 ms        1     8 KiB  sh > main > eval > fork",
        "     30 ms        2    16 KiB  redis-server > main > serve",
        "     20 ms        1     8 KiB    save > fork",
        "     10 ms        1     8 KiB    scripts > fork",
    ]


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    forks = [
        replace(fork(1), stack=by("save", "fork", cut=True)),
        fork(2),
    ]
    assert tree(of(tmp_path, forks), 200)[-2:] == [
        "No stack is known of 1 fork.",
        "Only the innermost functions are known of 1 fork: its stack is deeper than "
        "what is read.",
    ]


def test_without_stacks_there_is_no_tree(tmp_path: Path) -> None:
    study = of(tmp_path, [fork(1)])
    assert tree(study, 79) == []
    assert 'id="callers"' not in sections(study)


def test_nothing_is_wider_than_the_terminal(tmp_path: Path) -> None:
    deep = by(*(f"function_{number}" for number in range(300)))
    said = tree(of(tmp_path, [replace(fork(1), stack=deep)]), 79)
    assert max(map(len, said)) <= 79
    assert len(said) > 10


def test_a_function_that_calls_itself_is_named_once(tmp_path: Path) -> None:
    stack = by("main", "visit", "visit", "visit", "fork")
    (row,) = tree(of(tmp_path, [replace(fork(1), stack=stack)]), 99)[2:]
    assert row.endswith("redis-server > main > visit (3 times) > fork")


def test_a_function_without_a_name_is_called_by_its_file(tmp_path: Path) -> None:
    stack = Stack((Frame("", "/usr/bin/a\x1bb", 4096), Frame("", "", 8192)))
    assert stack_lines(stack) == ["        0x1000 (a\\x1bb)", "        0x2000"]
    (row,) = tree(of(tmp_path, [replace(fork(1), stack=stack)]), 99)[2:]
    assert row.endswith("redis-server > 0x2000 > a\\x1bb+?")


def test_the_flame_graph_can_be_by_time_or_by_page_tables(tmp_path: Path) -> None:
    forks = [replace(fork(n), stack=STACK) for n in range(3)]
    time, tables = callers_plot(of(tmp_path, forks)).to_json()["data"]
    assert [time["meta"], tables["meta"]] == ["time", "tables"]
    assert time["labels"] == tables["labels"] == [
        "all forks", "redis-server", "main", "rdbSaveBackground", "fork", "clone",
    ]  # fmt: skip
    assert time["values"] == [30 * MS] * 6
    assert tables["values"] == [3 * 8192] * 6
