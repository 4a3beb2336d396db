"""The process with every kind of VMA: what it answers, and that it always ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forktrace.errors import ForktraceError
from forktrace.kinds import KINDS
from forktrace.selftest.subject import Subject
from tests.patience import PATIENCE, wait_until

HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
USER = (
    "import signal, sys, time\n"
    # Ignored in a shell's background job, and then inherited.
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from forktrace.selftest.subject import Subject\n"
    "with Subject() as subject:\n"
    "    print(subject.ready.pid, flush=True)\n"
    "    time.sleep(3600)\n"
)


def lives(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_forks_as_often_as_told_and_leaves_nothing() -> None:
    before = HUGEPAGES.read_text()
    with Subject() as subject:
        forked = subject.fork(3)
        pid = subject.ready.pid
        made = {mapping.kind for mapping in subject.ready.mappings}
        skipped = {each.kind for each in subject.ready.skipped}
    assert len(set(forked.children)) == 3
    assert len(forked.pages) == len(made)
    assert forked.page_table_bytes > 0
    assert made | skipped == set(KINDS)
    assert not any(map(lives, (pid, *forked.children)))
    assert HUGEPAGES.read_text() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_its_user_is_killed(number: signal.Signals) -> None:
    before = HUGEPAGES.read_text()
    with subprocess.Popen(
        [sys.executable, "-c", USER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as user:
        assert user.stdout
        pid = int(user.stdout.readline())
        # To the whole group, as a terminal does; SIGKILL to the user alone.
        kill = os.kill if number == signal.SIGKILL else os.killpg
        kill(user.pid, number)
        user.wait(PATIENCE)
    wait_until(lambda: not lives(pid))
    assert HUGEPAGES.read_text() == before


def test_killed_itself_it_is_an_error_and_huge_pages_come_back() -> None:
    before = HUGEPAGES.read_text()

    def forks_after_its_end() -> None:
        with Subject() as subject:
            os.kill(subject.ready.pid, signal.SIGKILL)
            subject.fork(1)

    with pytest.raises(ForktraceError, match="ended from outside"):
        forks_after_its_end()
    assert HUGEPAGES.read_text() == before
