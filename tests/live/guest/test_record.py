"""A recording on a real kernel: whatever ends it, the file can be read and adds up."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from forktrace.report.command import read
from tests.live.guest.programs import (
    PATIENCE,
    Forktrace,
    run_forktrace,
    wait_until,
    words_of,
)

pytestmark = pytest.mark.thorough

SHELL = "while :; do (:); sleep 0.1; done"
# A flush a second, and what an emulated machine takes to come round to it.
LAST_SECOND = 1.0 + 1.0
WHOLE_FORKS = ("fork", "fork_slot", "fork_entry", "fork_return", "fork_event")
"""Stages at which a whole fork can get lost on a preemptible kernel."""


@pytest.fixture(autouse=True)
def forking_shell() -> Iterator[int]:
    shell = subprocess.Popen(["/bin/sh", "-c", SHELL])
    try:
        yield shell.pid
    finally:
        shell.kill()
        shell.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for little more than a header."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(place)]
    subprocess.run(mount, check=True)
    (place / "filler").write_bytes(bytes(48 << 10))
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a recording, as zcat would up to where it was cut."""
    text, data = b"", path.read_bytes()
    while data:
        unpack = zlib.decompressobj(wbits=31)
        text += unpack.decompress(data)
        data = unpack.unused_data
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def forks(path: Path) -> list[dict[str, Any]]:
    return [line for line in lines(path) if line["type"] == "fork"]


def forks_by(path: Path, pid: int) -> list[dict[str, Any]]:
    return [fork for fork in forks(path) if fork["pid"] == pid]


def seconds(record: dict[str, Any]) -> float:
    """Return a record's time, in seconds since the epoch."""
    return datetime.fromisoformat(record["time"][:26] + "+00:00").timestamp()


def studied(path: Path) -> dict[str, Any]:
    """Return the report as JSON."""
    return read(path).to_json()


def test_sigterm_ends_it_well_and_the_report_adds_up(
    tmp_path: Path, forking_shell: int
) -> None:
    path = tmp_path / "forks.gz"
    record = Forktrace(tmp_path, "record", "-o", str(path), "--self-stats")
    try:
        wait_until(lambda: len(forks_by(path, forking_shell)) >= 10)
        assert record.stop(signal.SIGTERM) == 0
    finally:
        record.kill()
    every, recorded = lines(path), forks(path)
    assert every[0]["format"] == "forktrace recording"
    assert every[-1]["type"] == "summary"
    assert every[-1]["ended"] == "stopped"
    assert every[-1]["forks"] == len(recorded)
    assert every[-1]["unwritten"] == 0
    # Nothing was filtered: all forks of the host are there, but for those lost.
    host, lost = every[-1]["host_totals"], every[-1]["lost"]
    missing = host["forks"] - len(recorded)
    assert 0 <= missing <= sum(lost.get(stage, 0) for stage in WHOLE_FORKS)
    study = studied(path)
    assert study["forks"] == len(recorded)
    for key in ("duration_ns", "copy_ns", "page_table_bytes"):
        whole = sum(fork[key] for fork in recorded)
        assert study[key] == whole > 0
        # Added up in the kernel, whoever misses an event.
        assert host.get(key, whole) >= whole
    longest = sorted((fork["duration_ns"] for fork in recorded), reverse=True)
    assert [dear["duration_ns"] for dear in study["costliest"]] == longest[:10]
    for dear in study["costliest"]:
        copied = [vma for vma in dear["details"] if vma["decision"] == "copy"]
        assert sum(vma["copy_ns"] for vma in copied) == dear["copy_ns"]
    own = [dear for dear in study["costliest"] if dear["pid"] == forking_shell]
    assert own
    assert "[stack]" in own[0]["names"].values()
    told = run_forktrace("report", str(path))
    assert (told.returncode, told.stderr) == (0, "")
    assert "[stack]" in told.stdout


@pytest.mark.fault(
    "kill -9 of record",
    "the file can be read, up to the last second",
)
def test_kill_9_loses_no_more_than_the_last_second(
    tmp_path: Path, forking_shell: int
) -> None:
    path = tmp_path / "forks.gz"
    record = Forktrace(tmp_path, "record", "-o", str(path))
    try:
        wait_until(lambda: len(forks_by(path, forking_shell)) >= 20)
        killed_at = time.time()
    finally:
        record.kill()
    recorded = forks_by(path, forking_shell)
    assert seconds(recorded[-1]) > killed_at - LAST_SECOND
    assert studied(path)["ended"] == "cut_off"
    told = run_forktrace("report", str(path))
    assert told.returncode == 0
    assert len(words_of(told.stderr)) == 1
    assert "was cut off" in told.stderr


@pytest.mark.fault(
    "disk full under record",
    "one line, status 1, the forks so far can be read",
)
def test_a_full_disk_is_one_line_and_keeps_what_there_was(
    tmp_path: Path, small_disk: Path
) -> None:
    path = small_disk / "forks.gz"
    record = Forktrace(tmp_path, "record", "-o", str(path))
    try:
        assert record.process.wait(PATIENCE) == 1
    finally:
        record.kill()
    complaints = [
        line for line in words_of(record.errors()) if line.startswith("forktrace:")
    ]
    assert len(complaints) == 1
    assert "The disk is full" in complaints[0]
    assert "Traceback" not in record.errors()
    assert studied(path)["forks"] == len(forks(path)) > 0


def test_it_stops_after_so_many_and_records_no_vmas_unless_wanted(
    tmp_path: Path, forking_shell: int
) -> None:
    path = tmp_path / "forks.gz"
    wanted = ["-o", str(path), "--count", "5", "--no-vmas", "--pid", str(forking_shell)]
    record = Forktrace(tmp_path, "record", *wanted)
    try:
        assert record.process.wait(PATIENCE) == 0
    finally:
        record.kill()
    recorded = forks(path)
    assert [fork["pid"] for fork in recorded] == [forking_shell] * 5
    assert not any("details" in fork for fork in recorded)
    assert lines(path)[-1]["ended"] == "count"
