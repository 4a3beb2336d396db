"""A host that lacks something gets one clear message and exit status 3."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.guest.programs import (
    FORKTRACE,
    PATIENCE,
    Workload,
    hidden,
    run_forktrace,
    wait_until,
    words_of,
)

pytestmark = pytest.mark.thorough

BCC = "/usr/lib/python3/dist-packages/bcc"


def refused(*prefix: str) -> Any:
    """Run ``forktrace run`` behind a command that takes something away."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "forktrace", "run"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("prefix", "missing"),
    [
        (("setpriv", "--reuid=65534", "--clear-groups"), "root"),
        (hidden("/sys/kernel/btf"), "BTF"),
        (hidden(BCC), "python3-bpfcc"),
    ],
    ids=["not root", "no BTF", "no python3-bpfcc"],
)
@pytest.mark.fault(
    "something that tracing needs is missing",
    "one message names it, status 3",
)
def test_what_is_missing_is_named(prefix: tuple[str, ...], missing: str) -> None:
    answer = refused(*prefix)
    assert answer.returncode == 3, answer
    assert missing in answer.stderr
    assert len(words_of(answer.stderr)) <= 2
    assert "Traceback" not in answer.stderr


@pytest.mark.fault(
    "an empty file over /sys/kernel/btf/vmlinux",
    "doctor names it and the fix; run says it, status 3",
)
def test_hidden_btf_is_named_with_its_fix() -> None:
    nothing = hidden("/sys/kernel/btf/vmlinux")
    assert "btf" in refused(*nothing).stderr
    doctor = [*nothing, *FORKTRACE, "doctor", "--json"]
    told = json.loads(subprocess.run(doctor, capture_output=True, check=False).stdout)
    (check,) = [each for each in told["checks"] if each["name"] == "btf"]
    assert not check["ok"]
    assert check["fix"] == "Unmount what hides it: umount /sys/kernel/btf/vmlinux"


@pytest.mark.parametrize("words", ["selftest", "trace --pid 1"])
@pytest.mark.fault(
    "asked from a pid namespace of its own",
    "it says that pids would not be the same, status 3",
)
def test_ids_of_another_pid_namespace_are_refused(words: str) -> None:
    answer = subprocess.run(
        [*("unshare", "-pf", "--mount-proc"), *FORKTRACE, *words.split()],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 3, answer
    assert "hostPID" in answer.stderr
    assert len(words_of(answer.stderr)) == 2


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("trace --cgroup /no/such/cgroup", 2, "no cgroup"),
        ("trace --pid 4194303", 1, "no process 4194303"),
        ("run --listen 192.0.2.1:1", 1, "192.0.2.1:1"),
        ("explain 2", 1, "kernel thread"),
    ],
)
def test_what_cannot_be_done_is_said_in_two_lines(
    words: str, status: int, said: str
) -> None:
    answer = run_forktrace(*words.split())
    assert answer.returncode == status, answer
    assert said in answer.stderr
    complaint = [line for line in words_of(answer.stderr) if "Tracing" not in line]
    assert len(complaint) <= 2
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("options", ["", "--vmas", "--vmas --json"])
def test_a_reader_that_leaves_early_ends_it_quietly(options: str) -> None:
    trace = f"{sys.executable} -m forktrace trace {options}"
    forks = "while :; do (:); sleep 0.2; done"
    script = f"{forks} & {{ {trace}; echo status $? >&2; }} | head -n 2; kill $!"
    answer = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert len(answer.stdout.splitlines()) == 2
    assert "status 0" in answer.stderr
    assert len(words_of(answer.stderr)) == 2, answer.stderr


@pytest.mark.fault(
    "disk full under the output of trace",
    "one line, status 1",
)
def test_a_full_disk_ends_it_with_one_line() -> None:
    """A fork with its VMAs is larger than what Python keeps back."""
    forks = "while :; do (:); sleep 0.2; done"
    trace = f"{sys.executable} -m forktrace trace --vmas --json --duration 60"
    answer = subprocess.run(
        [
            "bash",
            "-c",
            f"{forks} & {trace} >/dev/full; status=$?; kill $!; exit $status",
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 1, answer
    complaint = [line for line in words_of(answer.stderr) if "Tracing" not in line]
    assert len(complaint) <= 2
    assert "No space left" in complaint[0]


@pytest.fixture
def full_trampoline() -> Iterator[None]:
    """More fentry programs at copy_page_range than the kernel takes."""
    others = Workload("full_trampoline")
    try:
        assert others.ready["attached"] > 0
        assert others.ready["refused"] == errno.E2BIG
        yield
    finally:
        others.close()


@pytest.mark.usefixtures("full_trampoline")
@pytest.mark.fault(
    "no room for one more fentry program",
    "kprobes take over, and doctor tells",
)
def test_kprobes_take_over_where_the_kernel_takes_no_more_fentry() -> None:
    """BPF_MAX_TRAMP_LINKS, include/linux/bpf.h."""
    traced = run_forktrace("trace", "--duration", "1")
    assert traced.returncode == 0, traced
    assert "(kprobe," in traced.stderr
    refused = run_forktrace("trace", "--attach", "fentry")
    assert refused.returncode == 3, refused
    assert "--attach kprobe" in refused.stderr
    told = json.loads(run_forktrace("doctor", "--json").stdout)
    assert told["attach"] == ["kprobe"]
    (check,) = [each for each in told["checks"] if not each["ok"]]
    assert (check["name"], check["fix"]) == ("attach by fentry", "Try --attach kprobe.")


CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def slice_and_service() -> Iterator[Path]:
    """A cgroup in another; no process is in the outer one itself."""
    mounted = CGROUPS.is_mount()
    if not mounted:
        mount = ["mount", "-t", "cgroup2", "none", str(CGROUPS)]
        subprocess.run(mount, check=True)
    service = CGROUPS / "outer.slice/inner.service"
    service.mkdir(parents=True)
    try:
        yield service
    finally:
        service.rmdir()
        service.parent.rmdir()
        if not mounted:
            subprocess.run(["umount", str(CGROUPS)], check=True)


def test_a_cgroup_takes_in_those_below_it(slice_and_service: Path) -> None:
    script = (
        f"echo $$ >{slice_and_service}/cgroup.procs; while :; do (:); sleep 0.1; done"
    )
    elsewhere = subprocess.Popen(["sh", "-c", "while :; do (:); sleep 0.1; done"])
    inside = subprocess.Popen(["sh", "-c", script])
    try:
        answer = run_forktrace(
            *("trace", "--json", "--cgroup", "/outer.slice", "--count", "5")
        )
    finally:
        for shell in (elsewhere, inside):
            shell.kill()
            shell.wait()
        wait_until(lambda: not (slice_and_service / "cgroup.procs").read_text())
    assert answer.returncode == 0, answer
    records = [json.loads(line) for line in answer.stdout.splitlines()]
    forks = [record for record in records if "type" not in record]
    assert {fork["pid"] for fork in forks} == {inside.pid}
    assert {fork["cgroup"] for fork in forks} == {"/outer.slice/inner.service"}


def test_no_kernel_headers_are_installed() -> None:
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert not Path(f"/lib/modules/{release}/build").exists()
    assert not list(Path("/usr/src").glob("linux-*"))
    assert not Path("/sys/kernel/kheaders.tar.xz").exists()
