"""The archive a guest starts from, read back by cpio and by a shell."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.initramfs import Job, archive, is_hidden

FILES = {
    "init": (0o755, b"#!/bin/sh\n"),
    "modules/00-virtio.ko": (0o644, b"12345"),
    "empty": (0o600, b""),
}


@pytest.mark.skipif(not shutil.which("cpio"), reason="there is no cpio to read it with")
def test_cpio_unpacks_what_was_packed(tmp_path: Path) -> None:
    command = ["cpio", "--extract", "--quiet"]
    subprocess.run(command, input=archive(FILES), cwd=tmp_path, check=True)
    for name, (mode, data) in FILES.items():
        assert (tmp_path / name).read_bytes() == data
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


def test_the_same_files_give_the_same_bytes() -> None:
    assert archive(FILES) == archive(dict(FILES))


def test_a_job_runs_its_words_as_they_are_in_its_environment_alone() -> None:
    words = ["printf", "%s|", "a b", "$HOME", "it's", "*", ""]
    script = job(["sh", "-c", '"$@"; env', "-", *words]).script() + "job\n"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    shown, _, env = done.stdout.decode().partition("|PATH=")
    assert shown == "a b|$HOME|it's|*|"
    assert "TWO=1 2" in env.splitlines()
    assert "HOME=" not in env


def test_only_hidden_folders_are_shown_again() -> None:
    script = job(["true"], shown=["/tmp/clone of it", "/srv/clone"]).script()
    each = 'show() { for p; do echo "$p"; done; }\n'
    done = subprocess.run(
        ["sh", "-c", f"{each}{script}show_hidden\n"], capture_output=True, check=True
    )
    assert done.stdout.decode() == "/tmp/clone of it\n"


def test_a_root_of_its_own_is_shown_all_folders() -> None:
    words = job(["true"], shown=["/tmp/a", "/srv/b"])
    script = replace(words, root=Path("/cache/arm64")).script()
    each = 'show() { for p; do echo "$p"; done; }\n'
    done = subprocess.run(
        ["sh", "-c", f"{each}{script}show_hidden\n"], capture_output=True, check=True
    )
    assert done.stdout.decode() == "/tmp/a\n/srv/b\n"


@pytest.mark.parametrize(
    ("path", "hidden"),
    [("/tmp", True), ("/tmp/a/b", True), ("/tmpfs", False), ("/var/tmp/x", True)],
)
def test_hidden_is_what_a_tmpfs_covers(path: str, hidden: bool) -> None:
    assert is_hidden(Path(path)) is hidden


def job(argv: list[str], shown: list[str] | None = None) -> Job:
    return Job(
        argv=argv,
        env={"PATH": "/usr/bin:/bin", "TWO": "1 2"},
        cwd=Path("/"),
        results=Path("/tmp/results"),
        shown=[Path(path) for path in shown or []],
        end_mark="end",
    )
