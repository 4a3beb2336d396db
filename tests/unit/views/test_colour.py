"""Colours: on a terminal that has them, for what deserves one, unless told not to."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from forktrace.views.colour import When, choose, coloured, print_lines, wanted
from forktrace.views.lines import HEADER
from forktrace.views.top import HEADER as TOP_HEADER

ESCAPE = re.compile(r"\x1b\[\d*m")


@pytest.mark.parametrize(
    ("line", "style"),
    [
        (HEADER, 1),
        (TOP_HEADER, 1),
        ("What to do:", 1),
        ("A fork of redis-server (17) would copy 3 of 9 VMAs.", 1),
        ("ok  BTF: /sys/kernel/btf/vmlinux", 32),
        ("NO  kprobes: this kernel has no kprobes", 31),
        ("    fix: Boot another kernel.", 33),
        ("Lost: 3 at fork_event.", 33),
        ("selftest FAILED: 3 kinds right", 31),
        ("  maybe_guard  no  12", 36),
    ],
)
def test_what_people_look_for_has_a_colour(line: str, style: int) -> None:
    shown = coloured(line)
    assert f"\x1b[{style}m" in shown
    assert ESCAPE.sub("", shown) == line


@pytest.mark.parametrize("line", ["", "  anon_vma  yes  12", "12:00:01.003 bash 17"])
def test_the_rest_stays_as_it_is(line: str) -> None:
    assert coloured(line) == line


def test_a_pipe_gets_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines(["What to do:"])
    assert capsys.readouterr().out == "What to do:\n"


def test_somebody_may_want_them_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_lines(["What to do:"])
    assert capsys.readouterr().out == "\x1b[1mWhat to do:\x1b[0m\n"


@pytest.mark.parametrize(("when", "coloured"), [("always", True), ("never", False)])
def test_what_was_chosen_counts_more_than_the_environment(
    monkeypatch: pytest.MonkeyPatch, when: When, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR" if coloured else "FORCE_COLOR", "1")
    choose(when)
    try:
        assert wanted(sys.stdout) is coloured
    finally:
        choose("auto")


_EXPLAIN = """
import os, sys
from forktrace.__main__ import main
for values in sys.argv[2:]:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        os.environ.pop(name, None)
    os.environ.update(value.split("=") for value in values.split())
    try:
        main(["explain", sys.argv[1]])
    except SystemExit as ended:
        assert ended.code == 0
    print("END", flush=True)
"""


def on_a_terminal(*environments: str) -> list[bytes]:
    """Return what explain writes about this process to a terminal, in each of them."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", _EXPLAIN, str(os.getpid()), *environments]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while more := os.read(ours, 4096):
                shown += more
        except OSError:  # the terminal has no other end any more
            pass
        os.close(ours)
    assert process.returncode == 0
    *every, end = shown.split(b"END\r\n")
    assert not end
    return every


def test_a_terminal_shows_colours_unless_it_or_somebody_says_no() -> None:
    coloured, *plain = on_a_terminal(
        "TERM=xterm", "TERM=xterm NO_COLOR=1", "TERM=dumb", ""
    )
    assert b"\x1b[1mA fork of" in coloured
    assert len(plain) == 3
    for shown in plain:
        assert b"A fork of" in shown
        assert b"\x1b" not in shown
