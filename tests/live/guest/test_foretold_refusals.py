"""A fork fails where explain says that it would, with that errno, and not otherwise."""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forktrace.explain.refusals import refusals
from forktrace.kinds import fork_once
from forktrace.procfs import SmapsVma, read_smaps
from tests.live.guest.programs import cgroup_with_pids_max

pytestmark = pytest.mark.thorough

NOBODY = 65534
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def told_and_done(
    prepare: Callable[[], list[SmapsVma]], root: Path = Path("/")
) -> list[str]:
    """Return, of a child that prepared itself, what is foretold of a fork, and its end.

    ``prepare`` returns the child's VMAs.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = [each.errno for each in refusals(os.getpid(), prepare(), root)]
            os.write(theirs, json.dumps([*told, fork_ends()]).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    found: list[str] = json.loads(text)
    return found


def fork_ends() -> str:
    try:
        fork_once()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


@contextmanager
def overcommit(policy: int) -> Iterator[None]:
    """Let this policy hold, and all memory be committed."""
    paths = [Path(f"/proc/sys/vm/overcommit_{name}") for name in ("memory", "ratio")]
    before = [path.read_text() for path in paths]
    try:
        for path, value in zip(paths, (policy, 100)):
            path.write_text(f"{value}\n")
        yield
    finally:
        for path, text in zip(paths, before):
            path.write_text(text)


def memory(name: str) -> int:
    found = re.search(rf"^{name}: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    assert found
    return int(found[1]) * 1024


def mapped(length: int) -> list[SmapsVma]:
    keep.append(mmap.mmap(-1, length, flags=PRIVATE))
    return read_smaps()


keep: list[mmap.mmap] = []


@pytest.mark.parametrize(("most", "ends"), [(1, ["EAGAIN"] * 2), (2, ["ok"])])
def test_pids_max(tmp_path: Path, most: int, ends: list[str]) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    (tmp_path / "sys/fs").mkdir(parents=True)
    with cgroup_with_pids_max(tmp_path) as folder:
        (tmp_path / "sys/fs/cgroup").symlink_to(folder.parent)

        def join() -> list[SmapsVma]:
            (folder / "cgroup.procs").write_text("0")
            (folder / "pids.max").write_text(str(most))
            return read_smaps()

        assert told_and_done(join, tmp_path) == ends


@pytest.mark.parametrize(("most", "ends"), [(1, ["EAGAIN"] * 2), (2, ["ok"])])
def test_rlimit_nproc(most: int, ends: list[str]) -> None:
    def become_nobody() -> list[SmapsVma]:
        vmas = read_smaps()
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return vmas

    assert told_and_done(become_nobody) == ends


@pytest.mark.parametrize(("share", "ends"), [(0.7, ["ENOMEM"] * 2), (0.2, ["ok"])])
def test_the_commit_limit(share: float, ends: list[str]) -> None:
    """Fork needs a private mapping's size once more."""
    with overcommit(2):
        room = memory("CommitLimit") - memory("Committed_AS")
        assert room > 0
        assert told_and_done(lambda: mapped(int(share * room))) == ends


@pytest.mark.parametrize(("times", "ends"), [(2, ["ENOMEM"] * 2), (0.5, ["ok"])])
def test_one_mapping_larger_than_all_memory(times: float, ends: list[str]) -> None:
    length = int(times * (memory("MemTotal") + memory("SwapTotal")))

    def map_it() -> list[SmapsVma]:
        with overcommit(1):
            return mapped(length)

    with overcommit(0):
        assert told_and_done(map_it) == ends
