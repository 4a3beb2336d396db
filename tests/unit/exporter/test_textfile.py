"""The file for node_exporter: whole, readable, and never half replaced."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forktrace.errors import ForktraceError
from forktrace.exporter.metrics import ForktraceCollector
from forktrace.exporter.textfile import write_textfile
from tests.unit.exporter import samples


def collector() -> ForktraceCollector:
    return ForktraceCollector(samples.totals, lambda: samples.INFO)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_everybody_can_read_the_file(tmp_path: Path) -> None:
    write_textfile(collector(), tmp_path)
    file = tmp_path / "forktrace.prom"
    assert 'forktrace_forks_total{outcome="ok"} 23.0' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_node_exporters_own_process_metrics_are_not_repeated(tmp_path: Path) -> None:
    write_textfile(collector(), tmp_path)
    text = (tmp_path / "forktrace.prom").read_text()
    assert not [line for line in text.splitlines() if line.startswith("process_")]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "forktrace.prom"
    file.write_text("old\n")
    with no_file_longer_than(100), pytest.raises(ForktraceError) as caught:
        write_textfile(collector(), tmp_path)
    assert str(file) in caught.value.message
    assert "\n" not in caught.value.message
    assert file.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_one_left_goes_with_the_next_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child is killed in the middle of writing, over and over."""

    def killed(_descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                monkeypatch.setattr(os, "fsync", killed)
                write_textfile(collector(), tmp_path)
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    write_textfile(collector(), tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "forktrace.prom"]


def test_a_missing_directory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ForktraceError, match="No such file or directory"):
        write_textfile(collector(), tmp_path / "missing")
