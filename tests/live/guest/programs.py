"""Programs under test in the guest: started, waited for, and always ended."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.patience import PATIENCE as PATIENCE  # noqa: PLC0414 - for users of this
from tests.patience import wait_until as wait_until  # noqa: PLC0414

FORKTRACE = [sys.executable, "-m", "forktrace"]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Forktrace:
    """One running ``forktrace`` command; its output goes to files."""

    def __init__(
        self, folder: Path, *arguments: str, command: Sequence[str] = FORKTRACE
    ) -> None:
        """Start it and wait until its probes are attached."""
        self.stdout = folder / f"{arguments[0]}.out"
        self.stderr = folder / f"{arguments[0]}.err"
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=out, stderr=err
            )
        wait_until(lambda: "Tracing forks on" in self.errors() or self.ended())
        assert not self.ended(), self.errors()

    def errors(self) -> str:
        return self.stderr.read_text(errors="replace")

    def ended(self) -> bool:
        return self.process.poll() is not None

    def forks(self) -> list[dict[str, Any]]:
        """Return the forks printed so far by ``trace --json``."""
        text = self.stdout.read_text()
        whole = text[: text.rfind("\n") + 1]
        records = [json.loads(line) for line in whole.splitlines()]
        return [record for record in records if "type" not in record]

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as a person or systemd would; return its exit status."""
        if not self.ended():
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        if not self.ended():
            self.process.kill()
            self.process.wait(PATIENCE)


class Workload:
    """One of tests.live.workloads, obeying over pipes."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.live.workloads.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.ready = self._answer()

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, command: str, patience: float = PATIENCE) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        return self._answer(patience)

    def _answer(self, patience: float = PATIENCE) -> dict[str, Any]:
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], patience)[0]:
            raise TimeoutError("the workload does not answer")
        line = self.process.stdout.readline()
        assert line, f"the workload ended with {self.process.wait(PATIENCE)}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()


def run_forktrace(*arguments: str, timeout: float = PATIENCE) -> Any:
    """Run a command to its end; returns status, stdout and stderr as text."""
    return subprocess.run(
        [*FORKTRACE, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def meanwhile(work: Callable[[], object], pause: float = 0) -> Iterator[None]:
    """Do something over and over in a thread, with pauses of so many seconds."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(pause):
            work()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def children(pid: int) -> list[int]:
    """Return the processes that the main thread of one forked."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def words_of(errors: str) -> list[str]:
    """Return the lines on stderr that do not only tell what it waits for."""
    lines = errors.splitlines()
    return [line for line in lines if not line.startswith("forktrace: still ")]


def keep(name: str, text: str) -> None:
    """Leave a file for those outside the guest."""
    (Path(os.environ["RESULTS"]) / name).write_text(text)


def hidden(path: str) -> tuple[str, ...]:
    """Return a command that runs another where ``path`` is empty."""
    script = (
        f"if [ -d {path} ]; then mount -t tmpfs none {path}; "
        f'else mount --bind /dev/null {path}; fi && exec "$@"'
    )
    return ("unshare", "-m", "sh", "-c", script, "sh")


@contextmanager
def cgroups(folder: Path) -> Iterator[Path]:
    """Where the root of all cgroups is mounted, as version 2."""
    root = folder / "cgroups"
    root.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


@contextmanager
def cgroup_with_pids_max(folder: Path) -> Iterator[Path]:
    """Make a cgroup that can limit its tasks; it has to be empty in the end."""
    with cgroups(folder) as root:
        (root / "cgroup.subtree_control").write_text("+pids")
        made = root / "forktrace-few"
        made.mkdir()
        try:
            yield made
        finally:
            made.rmdir()


def scrape(port: int) -> Samples:
    """Return every sample of /metrics."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE
    ) as got:
        return samples_of(got.read().decode())


def samples_of(text: str) -> Samples:
    """Return every sample of Prometheus' text format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def growth(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """Return by how much a counter grew; a series that was not there began at 0."""
    key = (name, frozenset(labels.items()))
    return after.get(key, 0.0) - before.get(key, 0.0)


TRACEFS = Path("/sys/kernel/tracing")


def counted_events(instance: Path) -> int:
    """Return how many events an instance of tracefs was told, kept or overwritten."""
    text = "".join(path.read_text() for path in instance.glob("per_cpu/cpu*/stats"))
    assert not re.search(r"dropped events: [^0]", text), text
    return sum(map(int, re.findall(r"^(?:entries|overrun): (\d+)$", text, re.M)))


@contextmanager
def counted_calls(pid: int) -> Iterator[Any]:
    """Count calls of copy_page_range by one process without BPF: a tracefs event.

    Yields a function that returns the count so far, of calls that its buffer has no
    more room for too.
    """
    events = TRACEFS / "kprobe_events"
    instance = TRACEFS / "instances/observer"
    events.write_text("p:observer/cpr copy_page_range\n")
    instance.mkdir()
    event = instance / "events/observer/cpr"
    try:
        (event / "filter").write_text(f"common_pid == {pid}")
        (event / "enable").write_text("1")
        yield lambda: counted_events(instance)
    finally:
        (event / "enable").write_text("0")
        instance.rmdir()
        # Not open("a"): Python would seek, which this file refuses.
        with open(os.open(events, os.O_WRONLY | os.O_APPEND), "w") as listing:
            listing.write("-:observer/cpr\n")
