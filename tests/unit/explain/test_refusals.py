"""Why fork would fail: each limit at its edge, as files of /proc and /sys tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from forktrace.explain.refusals import Refusal, refusals
from forktrace.procfs import SmapsVma
from tests.unit.explain.samples import MIB, vma

GIB = 1024 * MIB
PRIVATE = vma(0, "rd wr ac", anonymous=MIB)
UNACCOUNTED = vma(500, "rd wr", anonymous=MIB)
LEFT_OUT = vma(600, "rd wr ac dc", anonymous=MIB)


class Host:
    """Files of a host with one process, 7, of user 1000, and no limit in its way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/sys/kernel/threads-max", "1000\n")
        self.write("proc/loadavg", "0.10 0.20 0.30 2/120 4711\n")
        self.write("proc/7/status", self.status())
        self.write(
            "proc/7/limits", "Max processes             10     20     processes\n"
        )
        self.write("proc/7/cgroup", "0::/system.slice/a.service\n")
        self.write("proc/sys/vm/overcommit_memory", "1\n")

    @staticmethod
    def status(uid: int = 1000, threads: int = 3, capabilities: int = 0) -> str:
        return (
            f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nThreads:\t{threads}\n"
            f"CapEff:\t{capabilities:016x}\n"
        )

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def refused(self, *vmas: SmapsVma) -> tuple[Refusal, ...]:
        return refusals(7, vmas or (PRIVATE,), self.root)

    def errno(self, *vmas: SmapsVma) -> str | None:
        found = self.refused(*vmas)
        assert len(found) <= 1
        return found[0].errno if found else None


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_without_a_limit_in_its_way_nothing_refuses_it(host: Host) -> None:
    assert host.refused() == ()


def test_nothing_is_refused_by_what_cannot_be_read(tmp_path: Path) -> None:
    assert refusals(7, (PRIVATE,), tmp_path) == ()


@pytest.mark.parametrize(("tasks", "errno"), [(999, None), (1000, "EAGAIN")])
def test_the_host_may_be_full(host: Host, tasks: int, errno: str | None) -> None:
    host.write("proc/loadavg", f"0.10 0.20 0.30 2/{tasks} 4711\n")
    assert host.errno() == errno


@pytest.mark.parametrize(("others", "errno"), [(6, None), (7, "EAGAIN")])
def test_a_user_may_have_no_more_tasks(
    host: Host, others: int, errno: str | None
) -> None:
    host.write("proc/8/status", host.status(threads=others))
    host.write("proc/9/status", host.status(uid=1001, threads=500))
    assert host.errno() == errno


@pytest.mark.parametrize(
    ("uid", "capabilities"), [(0, 0), (1000, 1 << 21), (1000, 1 << 24)]
)
def test_root_and_two_capabilities_are_exempt_from_that(
    host: Host, uid: int, capabilities: int
) -> None:
    host.write("proc/7/status", host.status(uid, 50, capabilities))
    assert host.errno() is None


@pytest.mark.parametrize("mounted", ["sys/fs/cgroup", "sys/fs/cgroup/pids"])
@pytest.mark.parametrize("where", ["", "system.slice", "system.slice/a.service"])
def test_any_cgroup_above_may_be_full(host: Host, mounted: str, where: str) -> None:
    if mounted.endswith("pids"):
        host.write("proc/7/cgroup", "1:cpu:/\n2:pids,misc:/system.slice/a.service\n")
    for folder in ("", "system.slice/", "system.slice/a.service/"):
        host.write(f"{mounted}/{folder}pids.max", "max\n")
        host.write(f"{mounted}/{folder}pids.current", "5\n")
    host.write(f"{mounted}/{where}/pids.max", "6\n")
    assert host.errno() is None
    host.write(f"{mounted}/{where}/pids.max", "5\n")
    (refusal,) = host.refused()
    assert refusal.errno == "EAGAIN"
    assert refusal.reason.endswith("has 5 tasks, and its pids.max is 5")


def test_a_cgroup_outside_of_what_is_mounted_is_not_followed(host: Host) -> None:
    host.write("proc/7/cgroup", "0::/../../proc\n")
    host.write("proc/pids.max", "1\n")
    host.write("proc/pids.current", "5\n")
    assert host.errno() is None


@pytest.mark.parametrize(("room", "errno"), [(0, None), (-1024, "ENOMEM")])
def test_the_commit_limit_counts_what_fork_commits_anew(
    host: Host, room: int, errno: str | None
) -> None:
    host.write("proc/sys/vm/overcommit_memory", "2\n")
    limit = 4 * GIB + PRIVATE.size + room
    host.write(
        "proc/meminfo",
        f"CommitLimit:  {limit >> 10} kB\nCommitted_AS:   {4 * GIB >> 10} kB\n",
    )
    assert host.errno(PRIVATE, UNACCOUNTED, LEFT_OUT) == errno


def test_one_mapping_may_be_larger_than_all_memory(host: Host) -> None:
    host.write("proc/sys/vm/overcommit_memory", "0\n")
    for megabytes, errno in ((PRIVATE.size >> 20, None), (1, "ENOMEM")):
        host.write("proc/meminfo", f"MemTotal: {megabytes << 10} kB\nSwapTotal: 0 kB\n")
        assert host.errno(PRIVATE, UNACCOUNTED) == errno
