"""A report is about the chosen forks, and says what it cannot choose of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.cow import Cow
from forktrace.errors import UsageError
from forktrace.fields import rfc3339
from forktrace.model import Exec, Fork
from forktrace.recording.reader import end_of
from forktrace.recording.records import Mappings
from forktrace.report.choice import Choice, Chosen
from forktrace.vforks import Vfork
from tests.unit.commands import Command
from tests.unit.recording.samples import (
    BEGAN,
    COW,
    EXEC,
    HEADER,
    MAPPINGS,
    MS,
    PROGRESS,
    SUMMARY,
    VFORK,
    fork,
    write,
)

SECOND = 10**9
MANY = [fork(n, comm=comm) for n, comm in enumerate(["sh", "redis-server", "sh"])]


def choose(
    choice: Choice, records: list[Fork | Exec | Vfork | Mappings | Cow]
) -> list[object]:
    return list(Chosen(choice).of(records))


def test_what_belongs_to_a_fork_goes_with_it() -> None:
    kept, left = fork(0), fork(1, comm="sh")
    other = replace(EXEC, pid=left.child_pid)
    found = choose(
        Choice(("redis*",)), [MAPPINGS, left, other, EXEC, MAPPINGS, kept, EXEC, VFORK]
    )
    assert found == [MAPPINGS, kept, EXEC]


def test_what_a_child_copied_goes_with_its_fork() -> None:
    kept, left = fork(0), fork(1, comm="sh")
    ours = replace(COW, pid=kept.child_pid)
    others = replace(COW, pid=left.child_pid)
    execs = replace(EXEC, pid=kept.child_pid)
    found = choose(Choice(("redis*",)), [left, kept, others, ours, execs])
    assert found == [kept, ours, execs]


def test_a_thread_has_a_name_too() -> None:
    assert choose(Choice(("work*",)), [VFORK, fork()]) == [VFORK]


def test_names_of_a_fork_that_is_left_out_are_not_those_of_the_next() -> None:
    first, second = fork(0), fork(1)
    choice = Choice(since_ns=second.time_ns)
    assert choose(choice, [MAPPINGS, first, second]) == [second]


def test_what_tells_of_losses_stays() -> None:
    chosen = Chosen(Choice(("none",)))
    assert list(chosen.of([fork(), PROGRESS, SUMMARY])) == [PROGRESS, SUMMARY]
    assert chosen.forks == 1


@pytest.mark.parametrize(
    ("said", "since_ns"),
    [
        ("1970-01-02", 86_400 * SECOND),
        ("1970-01-01T01:00", 3600 * SECOND),
        ("1970-01-01 01:00:01.5", 3601 * SECOND + 500 * MS),
        ("1970-01-01T01:00:00.000000001Z", 3600 * SECOND + 1),
        ("1970-01-01T03:00+02:00", 3600 * SECOND),
        (rfc3339(BEGAN + 7), BEGAN + 7),
    ],
)
def test_a_time(said: str, since_ns: int) -> None:
    assert Choice.of((), said) == Choice(since_ns=since_ns)


@pytest.mark.parametrize(
    ("said", "last_ns"),
    [
        ("10m", 600 * SECOND),
        ("1h30min", 5400 * SECOND),
        ("1.5s", 1500 * MS),
        ("250ms", 250 * MS),
        ("2d", 172_800 * SECOND),
    ],
)
def test_a_duration_counts_from_the_end(said: str, last_ns: int) -> None:
    choice = Choice.of((), said)
    assert choice == Choice(last_ns=last_ns)
    assert choice.at(BEGAN).since_ns == BEGAN - last_ns


@pytest.mark.parametrize("said", ["", "10", "m", "yesterday", "2026-13-01", "12:30"])
def test_neither_time_nor_duration(said: str) -> None:
    with pytest.raises(UsageError, match="neither a time nor a duration"):
        Choice.of((), said)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three forks within 200 ms, in a recording of a minute."""
    return write(tmp_path / "r", MANY, execs=[EXEC, VFORK])


def test_the_report_of_some_names(forktrace: Command, recording: Path) -> None:
    answer = forktrace("report", recording, "--comm", "redis*", "-c", "bash")
    assert answer.stdout.startswith("In 60 s, 1 fork took 10 ms in all")
    assert (
        "Shown: 1 of 3 forks, name 'redis*' or 'bash'; what was lost is told of all.\n"
    ) in answer.stdout
    assert "\nsh " not in answer.stdout
    told = json.loads(
        forktrace("report", recording, "--comm", "redis*", "--json").stdout
    )
    assert [each["comm"] for each in told["processes"]] == ["redis-server"]
    assert (told["forks"], told["recorded_forks"]) == (1, 3)
    assert told["exec_discards"]["discards"] == 0
    assert told["vforks"] == 0
    assert told["chosen"] == {"comms": ["redis*"], "since": None}


def test_what_the_host_did_is_no_part_of_a_choice(
    forktrace: Command, tmp_path: Path
) -> None:
    host = replace(SUMMARY.host, vforks=replace(SUMMARY.host.vforks, calls=7))
    path = write(tmp_path / "r", summary=replace(SUMMARY, host=host))
    assert "On the host: " in forktrace("report", path).stdout
    assert "On the host: " not in forktrace("report", path, "-c", "*").stdout


@pytest.mark.parametrize("since", ["59.85s", rfc3339(BEGAN + 150 * MS)])
def test_the_report_from_a_time_on(
    forktrace: Command, recording: Path, since: str
) -> None:
    told = json.loads(forktrace("report", recording, "--since", since, "--json").stdout)
    assert [each["time"] for each in told["costliest"]] == [rfc3339(MANY[2].time_ns)]
    assert told["span_ns"] == 60 * SECOND - 150 * MS
    assert told["chosen"]["since"] == rfc3339(BEGAN + 150 * MS)


def test_the_last_minutes_of_one_that_was_cut_off(
    forktrace: Command, tmp_path: Path
) -> None:
    path = write(tmp_path / "r", MANY, ended=False)  # a second after it began
    told = json.loads(forktrace("report", path, "--since", "850ms", "--json").stdout)
    assert told["forks"] == 1


def test_one_that_was_cut_off_at_once_ended_when_it_began(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    lines = (HEADER.to_json(), {"type": "fork", **fork(1).to_json()})
    path.write_text("\n".join(map(json.dumps, lines)))
    assert end_of(path) == BEGAN


def test_a_choice_that_no_fork_matches(
    forktrace: Command, recording: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    answer = forktrace("report", recording, "--comm", "zsh")
    said = "No fork is shown: none of the 3 recorded matched."
    assert (answer.returncode, answer.stdout.splitlines()[0]) == (0, said)
    assert forktrace("report", recording, "--comm", "zsh", "--html", page)[0] == 0
    assert said in page.read_text()


def test_both_recordings_are_chosen_from(forktrace: Command, recording: Path) -> None:
    answer = forktrace("report", recording, recording, "--comm", "sh")
    assert answer.stdout.count("Shown: 2 of 3 forks, name 'sh'") == 2


def test_a_page_says_what_it_is_about(
    forktrace: Command, recording: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    forktrace("report", recording, "--comm", "sh", "--html", page)
    assert "Shown: 2 of 3 forks, name &#x27;sh&#x27;" in page.read_text()


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        *(("cost", "a"), ("forks", "b"), ("duration", "a"), ("time", "c")),
        *(("name", "a"), ("tables", "b")),
    ],
)
def test_rows_are_sorted_as_asked(
    forktrace: Command, tmp_path: Path, sort: str, first: str
) -> None:
    forks = [
        fork(1, 20 * MS, comm="a", copy_ns=15 * MS),
        *(fork(n, 1 * MS, comm="b") for n in (2, 3, 4)),
        *(fork(n, 11 * MS, comm="c", copy_ns=MS) for n in (5, 6)),
    ]
    path = write(tmp_path / "r", forks, execs=[])
    told = json.loads(forktrace("report", path, "--sort", sort, "--json").stdout)
    assert told["processes"][0]["comm"] == first


def test_rows_of_each_table_are_limited(forktrace: Command, tmp_path: Path) -> None:
    forks = [fork(n, (20 - n) * MS, comm=f"sh{n}") for n in range(18)]
    path, page = write(tmp_path / "r", forks, execs=[]), tmp_path / "page.html"
    usual = forktrace("report", path).stdout
    assert "\nand 3 more, which copied for" in usual
    few = forktrace("report", path, "--limit", "2").stdout
    assert "\nand 16 more, which copied for" in few
    assert "\n 2. " in few
    assert "\n 3. " not in few
    assert "which copied for" not in forktrace("report", path, "--limit", "20").stdout
    forktrace("report", path, "--limit", "2", "--html", page)
    assert "and 16 more, which copied for" in page.read_text()
    shown = forktrace("report", path, path, "--limit", "2").stdout
    assert shown.count("  of sh") == 2
