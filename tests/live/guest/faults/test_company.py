"""forktrace beside others: other forktraces, other tracers of the same functions."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.guest.faults.watched import daemon, fork
from tests.live.guest.programs import (
    PATIENCE,
    TRACEFS,
    Forktrace,
    run_forktrace,
    wait_until,
    words_of,
)
from tests.live.guest.test_record import lines

PORT = 19440
FORKS = 23
FUNCTIONS = ("copy_page_range", "kernel_clone")


@pytest.mark.fault("a second daemon on another port", "both count every fork")
def test_two_daemons_count_the_same(tmp_path: Path, saw: Callable[[str], None]) -> None:
    with (
        daemon(tmp_path, PORT) as first,
        daemon(tmp_path, PORT + 1, "--attach", "kprobe") as second,
        first.counting_exactly() as made,
        second.counting_exactly() as made_too,
    ):
        made.append(fork(FORKS))
        made_too.append(FORKS)
    saw(f"{FORKS} forks of {FORKS} by fentry and by kprobe")


@pytest.mark.thorough
@pytest.mark.fault(
    "a second daemon on the same port",
    "it says so in two lines, status 1; the first goes on",
)
def test_the_same_port_is_refused_in_words(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    with daemon(tmp_path, PORT) as first:
        refused = run_forktrace("run", "--listen", f"127.0.0.1:{PORT}")
        with first.counting_exactly() as made:
            made.append(fork(FORKS))
    said = [line for line in words_of(refused.stderr) if "Tracing" not in line]
    assert (refused.returncode, len(said) <= 2) == (1, True), refused
    assert f"127.0.0.1:{PORT}" in said[0]
    saw(said[0])


@pytest.mark.fault(
    "daemon with trace, top and record beside it", "all tell of every fork"
)
def test_all_commands_at_once_tell_the_same(
    tmp_path: Path, saw: Callable[[str], None]
) -> None:
    path = tmp_path / "forks.gz"
    others = (
        ("trace", "--json"),
        ("top", "--json", "--interval", "1"),
        ("record", "-o", str(path)),
    )
    with daemon(tmp_path, PORT) as run:
        beside = [Forktrace(tmp_path, *words) for words in others]
        trace, top, _ = beside
        try:
            with run.counting_exactly() as made:
                made.append(shell_forks(FORKS))
            wait_until(lambda: _traced(trace) >= FORKS)
            wait_until(lambda: _topped(top) >= FORKS)
            assert [each.stop() for each in beside] == [0, 0, 0]
        finally:
            for each in beside:
                each.kill()
    recorded = sum(line.get("comm") == DASH for line in lines(path))
    assert (_traced(trace), _topped(top), recorded) == (FORKS, FORKS, FORKS)
    saw(f"{FORKS} of {FORKS} forks in each of the four")


DASH = "dash"


def shell_forks(times: int) -> int:
    """Fork under a name of its own: each forktrace forks at its start, too."""
    subprocess.run(["/bin/dash", "-c", "(:); " * times + ":"], check=True)
    return times


def _traced(trace: Forktrace) -> int:
    return sum(fork["comm"] == DASH for fork in trace.forks())


def _topped(top: Forktrace) -> int:
    """Return the forks in all that top told."""
    usages = (usage for window in top.forks() for usage in window["processes"])
    return sum(usage["forks"] for usage in usages if usage["comm"] == DASH)


@contextmanager
def bpftrace(probe: str) -> Iterator[subprocess.Popen[str]]:
    """Count calls with another tool; its counts are printed as it ends."""
    counts = (f"{probe}:{name} {{ @{name} = count(); }}" for name in FUNCTIONS)
    script = " ".join(('BEGIN { printf("attached\\n"); }', *counts))
    other = subprocess.Popen(
        ["bpftrace", "-e", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert other.stdout
        lines = iter(other.stdout.readline, "")
        said = []
        for line in lines:
            said.append(line)
            if line == "attached\n":
                break
        assert other.poll() is None, said
        yield other
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("first", ["bpftrace", "forktrace"])
@pytest.mark.parametrize("probe", ["kprobe", "kfunc"])
@pytest.mark.fault(
    "bpftrace on the same functions",
    "whoever came first and whoever goes first, every fork is counted",
)
def test_bpftrace_on_the_same_functions_changes_nothing(
    probe: str, first: str, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    def counts(other: subprocess.Popen[str]) -> str:
        other.send_signal(2)
        return other.communicate(timeout=PATIENCE)[0]

    if first == "bpftrace":
        with (
            bpftrace(probe) as other,
            daemon(tmp_path, PORT) as run,
            run.counting_exactly() as made,
        ):
            made.append(fork(FORKS))
            theirs = counts(other)
            made.append(fork(FORKS))
    else:
        with daemon(tmp_path, PORT) as run, run.counting_exactly() as made:
            made.append(fork(FORKS))
            with bpftrace(probe) as other:
                made.append(fork(FORKS))
                theirs = counts(other)
    calls = _count(theirs, "kernel_clone")
    assert calls >= FORKS
    saw(f"{sum(made)} of {sum(made)} forks; bpftrace's own count {calls}")


def _count(output: str, function: str) -> int:
    for line in output.splitlines():
        if line.startswith(f"@{function}:"):
            return int(line.partition(":")[2])
    raise AssertionError(output)


@pytest.mark.parametrize("attach", ["fentry", "kprobe"])
@pytest.mark.fault(
    "the kernel's function tracer on the same functions", "every fork is counted"
)
def test_the_function_tracer_changes_nothing(
    attach: str, tmp_path: Path, saw: Callable[[str], None]
) -> None:
    instance = TRACEFS / "instances/beside"
    instance.mkdir()
    try:
        (instance / "set_ftrace_filter").write_text("\n".join(FUNCTIONS))
        (instance / "current_tracer").write_text("function")
        with (
            daemon(tmp_path, PORT, "--attach", attach) as run,
            run.counting_exactly() as made,
        ):
            for tracer in ("nop", "function", "nop", "function"):
                # Each change empties its buffer.
                (instance / "current_tracer").write_text(tracer)
                made.append(fork(FORKS))
        theirs = (instance / "trace").read_text().count(": kernel_clone <-")
    finally:
        instance.rmdir()
    assert theirs >= FORKS
    saw(f"{sum(made)} of {sum(made)} forks, switched on, off and on; ftrace {theirs}")
