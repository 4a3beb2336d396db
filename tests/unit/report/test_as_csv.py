"""A table as CSV: what any reader of CSV makes of it is what was recorded."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.fields import rfc3339
from forktrace.model import Parts
from forktrace.options import Table
from tests.unit.commands import Command
from tests.unit.recording.samples import (
    BEGAN,
    DETAILED,
    EXEC,
    VFORK,
    fork,
    write,
)

FORKS = [
    replace(DETAILED, parts=Parts(1, 2, 3, 4, 5), pinned_bytes=4096, run_delay_ns=7),
    replace(fork(1, comm='a,"b'), outcome="failed", errno="EAGAIN", child_pid=0),
    fork(2, 1_500_000_007, comm="sh\n\x1b[2J", copy_ns=5, trigger="pfnmap+mixedmap"),
]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write(tmp_path / "r", FORKS, execs=[EXEC, VFORK])


def rows(forktrace: Command, *words: str | Path) -> list[dict[str, str]]:
    answer = forktrace("report", *words)
    assert (answer.returncode, answer.stderr) == (0, "")
    return list(csv.DictReader(io.StringIO(answer.stdout, newline="")))


def test_each_fork_is_a_row(forktrace: Command, recording: Path) -> None:
    first, failed, slow = rows(forktrace, recording, "--csv", "forks")
    assert first["time"] == rfc3339(BEGAN)
    assert first["duration_seconds"] == "0.010000000"
    assert first["mmap_lock_part_seconds"] == "0.000000002"
    assert first["run_delay_seconds"] == "0.000000007"
    assert (first["pinned_bytes"], first["copied_vmas"]) == ("4096", "2")
    assert (failed["comm"], failed["errno"]) == ('a,"b', "EAGAIN")
    assert (failed["pinned_bytes"], failed["setup_part_seconds"]) == ("", "")
    assert slow["comm"] == "sh\\x0a\\x1b[2J"
    assert slow["duration_seconds"] == "1.500000007"
    assert slow["triggers"] == "pfnmap+mixedmap"


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("vforks", [{"comm": "spawner", "held_seconds": "0.250000000"}]),
        (
            "processes",
            [
                {"comm": 'a,"b', "failed": "1"},
                {"comm": "redis-server", "forks": "1", "exec_discards": "1"},
                {"comm": "sh\\x0a\\x1b[2J", "copy_seconds": "0.000000005"},
            ],
        ),
        ("cgroups", [{"cgroup": "/redis", "forks": "3", "page_table_bytes": "24576"}]),
        (
            "triggers",
            [
                {"trigger": "anon_vma", "anon_vma": "true", "vmas": "4"},
                {"trigger": "pfnmap+mixedmap", "anon_vma": "false", "vmas": "2"},
            ],
        ),
        (
            "mappings",
            [
                {"mapping": "[heap]", "copy_seconds": "0.006000000"},
                {"mapping": "[anonymous]", "page_table_bytes": "4096"},
            ],
        ),
        ("failures", [{"errno": "EAGAIN", "comm": 'a,"b', "forks": "1"}]),
    ],
)
def test_each_table_has_its_rows(
    forktrace: Command, recording: Path, table: str, found: list[dict[str, str]]
) -> None:
    told = rows(forktrace, recording, "--csv", table)
    assert len(told) == len(found)
    for row, expected in zip(told, found):
        assert expected.items() <= row.items()


@pytest.mark.parametrize("table", [each.value for each in Table])
def test_rows_are_chosen_and_limited(
    forktrace: Command, recording: Path, table: str
) -> None:
    assert len(rows(forktrace, recording, "--csv", table, "--limit", "1")) == 1
    answer = forktrace("report", recording, "--csv", table, "--comm", "zsh")
    assert len(answer.stdout.splitlines()) == 1
    said = "forktrace: No fork is shown: none of the 3 recorded matched.\n"
    assert answer.stderr == ("" if table == "vforks" else said)


def test_rows_are_sorted(forktrace: Command, recording: Path) -> None:
    found = rows(forktrace, recording, "--csv", "processes", "--sort", "name")
    assert [row["comm"][0] for row in found] == ["a", "r", "s"]


@pytest.mark.parametrize("table", ["forks", "triggers"])
def test_a_recording_that_was_cut_off_is_told(
    forktrace: Command, tmp_path: Path, table: str
) -> None:
    path = write(tmp_path / "r", ended=False)
    answer = forktrace("report", path, "--csv", table)
    assert len(answer.stdout.splitlines()) == 2
    assert answer.stderr.startswith(f"forktrace: {path} was cut off; ")


@pytest.mark.parametrize("other", [["--json"], ["--html", "x.html"], ["after"]])
def test_it_is_one_table_of_one_recording(
    forktrace: Command, recording: Path, other: list[str]
) -> None:
    answer = forktrace("report", recording, "--csv", "forks", *other)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "--csv prints one table of one recording." in answer.stderr
