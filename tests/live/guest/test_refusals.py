"""A host that lacks something gets one clear message and exit status 3."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.guest.programs import PATIENCE, hidden, run_forktrace

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
def test_what_is_missing_is_named(prefix: tuple[str, ...], missing: str) -> None:
    answer = refused(*prefix)
    assert answer.returncode == 3, answer
    assert missing in answer.stderr
    assert len(answer.stderr.splitlines()) <= 2
    assert "Traceback" not in answer.stderr


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
    complaint = [line for line in answer.stderr.splitlines() if "Tracing" not in line]
    assert len(complaint) <= 2
    assert "Traceback" not in answer.stderr


def test_a_reader_that_leaves_early_ends_it_quietly() -> None:
    trace = f"{sys.executable} -m forktrace trace"
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
    assert len(answer.stderr.splitlines()) == 2, answer.stderr


def test_no_kernel_headers_are_installed() -> None:
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert not Path(f"/lib/modules/{release}/build").exists()
    assert not list(Path("/usr/src").glob("linux-*"))
    assert not Path("/sys/kernel/kheaders.tar.xz").exists()
