"""Real programs, made to fork: the page tables are what explain said, to 10 %."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from forktrace.explain.predict import forecast
from forktrace.explain.process import Process
from forktrace.kernel.running import RunningKernel
from tests.unit.explain.forced import fork_cost, needs_ptrace

FREED = """
import mmap, time
m = mmap.mmap(-1, 512 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for offset in range(0, 512 << 20, 2 << 20): m[offset] = 1
for offset in range(0, 400 << 20, 2 << 20): m.madvise(mmap.MADV_DONTNEED, offset, 4096)
print(flush=True); time.sleep(600)
"""
"""Leaves 200 page tables empty, which pagemap does not show."""

PROGRAMS: dict[str, Sequence[str]] = {
    "redis": ("redis-server", "--port", "0", "--unixsocket", "s", "--save", ""),
    "python": ("python3", "-c", "print(flush=True); import time; time.sleep(600)"),
    "freed": ("python3", "-c", FREED),
    "java": ("java", "-XX:TieredStopAtLevel=1", "--source", "11", "Main.java"),
    "perl": ("perl", "-e", '$|=1; $x = "x" x 1e8; print "\\n"; sleep 600'),
    # It forks nothing by itself, which would be mistaken for the fork it is made to do.
    "bash": ("bash", "-c", "echo; read"),
}
MAIN = (
    "public class Main { public static void main(String[] a) throws Exception "
    '{ System.out.println("up"); Thread.sleep(600000); } }'
)


@needs_ptrace
@pytest.mark.parametrize("name", PROGRAMS)
def test_page_tables_are_told_to_10_percent(name: str, tmp_path: Path) -> None:
    command = PROGRAMS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    (tmp_path / "Main.java").write_text(MAIN)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=tmp_path) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            said, real = _settled(process.pid)
        finally:
            process.kill()
    print(f"{name}: said {said}, real {real}")
    assert abs(said - real) <= real / 10


def _settled(pid: int) -> tuple[int, int]:
    """Return what was said and what was real, of a moment in which nothing changed."""
    kernel = RunningKernel.read(None)

    def say() -> int:
        return forecast(Process.read(pid), kernel.rule, kernel.names).page_table_bytes

    for _ in range(50):
        said, real = say(), fork_cost(pid)
        if said == say():
            break
        time.sleep(0.1)
    return said, real
