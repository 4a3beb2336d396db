"""Little is left for the daemon: memory, descriptors, places to write."""

from __future__ import annotations

import resource
import signal
import subprocess
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.live.guest.faults.leftovers import nothing_left
from tests.live.guest.faults.watched import Daemon, daemon, fork
from tests.live.guest.programs import (
    FORKTRACE,
    PATIENCE,
    Forktrace,
    scrape,
    wait_until,
    words_of,
)
from tests.live.guest.storms import fork_storm

PORT = 19480
FORKS = 23
CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup with the memory controller."""
    (CGROUPS / "cgroup.subtree_control").write_text("+memory")
    made = CGROUPS / "limited"
    made.mkdir()
    try:
        yield made
    finally:
        wait_until(lambda: not (made / "cgroup.procs").read_text())
        made.rmdir()


def events(group: Path) -> dict[str, int]:
    lines = (group / "memory.events").read_text().splitlines()
    return {name: int(count) for name, count in (line.split() for line in lines)}


READS = "echo $$ >{}/cgroup.procs; exec cat /usr/lib/*/*.so* /usr/bin/* >/dev/null"
"""Without a fork."""


@pytest.mark.fault(
    "the memory limit of the daemon's cgroup is reached while tracing",
    "the kernel takes page cache back, the daemon counts every fork and answers",
)
def test_a_reached_memory_limit_loses_no_fork(
    group: Path, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    """Another process fills the group with what it reads."""
    (group / "memory.max").write_text(str(32 * MIB))
    with daemon(tmp_path, PORT) as run:
        (group / "cgroup.procs").write_text(str(run.process.pid))
        reader = subprocess.Popen(["sh", "-c", READS.format(group)])
        try:
            wait_until(lambda: events(group)["max"] > 100)
            with fork_storm(50, processes=4) as storm, run.counting_exactly() as made:
                made.append(storm.ask("go")["forks"])
                with ThreadPoolExecutor(8) as many:
                    list(many.map(scrape, [PORT] * 32))
            reached = events(group)
        finally:
            reader.kill()
            reader.wait()
    assert reached["oom_kill"] == 0
    saw(f"limit met {reached['max']} times, {sum(made)} forks of {sum(made)}")


@pytest.mark.fault(
    "the kernel kills the daemon for its memory while tracing",
    "nothing is left, and others fork on",
)
def test_a_daemon_killed_for_its_memory_leaves_nothing(
    group: Path, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    with nothing_left(), fork_storm(50, processes=4) as storm:
        run = Daemon(tmp_path, PORT)
        try:
            (group / "cgroup.procs").write_text(str(run.process.pid))
            (group / "memory.max").write_text("4096")
            with suppress(OSError, HTTPException):
                scrape(PORT)
            wait_until(run.ended)
            made = storm.ask("go")
        finally:
            run.kill()
    assert run.process.returncode == -signal.SIGKILL
    assert (events(group)["oom_kill"], made["failed"]) == (1, 0)
    saw(f"killed; {made['forks']} forks afterwards, nothing left")


@pytest.mark.parametrize("mebibytes", [4, 16, 48])
@pytest.mark.fault(
    "too little memory to start in",
    "one clear line or the kernel kills it: nothing is left",
)
def test_too_little_memory_to_start_leaves_nothing(
    mebibytes: int, group: Path, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    (group / "memory.max").write_text(str(mebibytes * MIB))
    inside = ("sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh")
    with nothing_left():
        ended = subprocess.run(
            [*inside, *FORKTRACE, "trace", "--duration", "1"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert "Traceback" not in ended.stderr
    assert ended.returncode in (0, 1, -signal.SIGKILL), ended
    if ended.returncode == 1:
        assert len(words_of(ended.stderr)) <= 2, ended
    killed = " (killed)" if ended.returncode < 0 else ""
    saw(f"status {ended.returncode}{killed} {ended.stderr.partition('.')[0]}".strip())


@pytest.mark.timeout(900)
@pytest.mark.fault(
    "out of descriptors at the start", "it works, or one clear line: never a traceback"
)
def test_too_few_descriptors_to_start_is_said(saw: Callable[[str], None]) -> None:
    told = []
    with nothing_left():
        for most in (6, 8, 12, 16, 20, 24, 32, 40):
            ended = subprocess.run(
                ["prlimit", f"--nofile={most}", *FORKTRACE, "trace", "--duration=1"],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert "Traceback" not in ended.stderr, (most, ended)
            assert ended.returncode in (0, 1, 3), (most, ended)
            if ended.returncode:
                assert len(words_of(ended.stderr)) <= 2, (most, ended)
            told.append(f"{most}: {ended.returncode}")
    saw(f"status by limit {', '.join(told)}")


@contextmanager
def few_descriptors(pid: int) -> Iterator[None]:
    """No more than the process has open already."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.fault(
    "out of descriptors while tracing",
    "scrapes fail meanwhile, nothing else: it goes on and has counted every fork",
)
def test_no_descriptor_left_ends_nothing(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    """For longer than from one audit window to the next, and in a storm in which it
    would change from fentry to kprobes.
    """
    with (
        fork_storm(250, processes=4) as storm,
        daemon(tmp_path, PORT) as run,
        run.counting_exactly() as made,
    ):
        with few_descriptors(run.process.pid):
            made.append(storm.ask("go", patience=600)["forks"])
            with pytest.raises((OSError, urllib.error.URLError, HTTPException)):
                scrape(PORT)
            with pytest.raises(TimeoutError):
                wait_until(run.ended, 75)
        made.append(fork(FORKS))
        said = len(run.warnings(""))
    saw(f"{sum(made)} forks of {sum(made)} after 75 s without; {said} warnings")


NOWHERE = """
for folder in /tmp /var/tmp /run /dev/shm; do mount -o remount,ro,bind $folder; done
unset HOME
exec "$@"
"""


@pytest.mark.thorough
@pytest.mark.fault(
    "/tmp read-only and no HOME", "it traces: it needs no place to write"
)
def test_it_needs_no_place_to_write(tmp_path: Path, saw: Callable[[str], None]) -> None:
    command = ("unshare", "--mount", "sh", "-c", NOWHERE, "sh", *FORKTRACE)
    trace = Forktrace(tmp_path, "trace", "--json", "--attach=kprobe", command=command)
    try:
        made = fork(FORKS)
        wait_until(lambda: len(trace.forks()) >= made)
        assert trace.stop() == 0
    finally:
        trace.kill()
    saw(f"{len(trace.forks())} forks of {made}")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "full", str(place)]
    subprocess.run(mount, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.fault(
    "the disk of --textfile full while tracing",
    "one warning, the old file stays, and it is written again once there is room",
)
def test_a_full_disk_stops_the_textfile_and_nothing_else(
    full_disk: Path, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    told, filler = full_disk / "forktrace.prom", full_disk / "filler"
    with daemon(tmp_path, PORT, "--textfile", str(full_disk)) as run:
        with run.counting_exactly() as made:
            first = told.read_bytes()
            fill = ["dd", "if=/dev/zero", f"of={filler}", "bs=4k", "status=none"]
            assert subprocess.run(fill, check=False).returncode == 1
            wait_until(lambda: run.warnings("Cannot write"))
            made.append(fork(FORKS))
            assert told.read_bytes() == first
            filler.unlink()
            wait_until(lambda: told.read_bytes() != first)
        (warning,) = run.warnings("Cannot write")
    assert [path.name for path in full_disk.iterdir()] == ["forktrace.prom"]
    saw(warning.partition("warning: ")[2])
