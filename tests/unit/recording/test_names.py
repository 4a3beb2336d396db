"""Names of mappings, as /proc tells them just after the fork."""

from __future__ import annotations

import os
from pathlib import Path

from forktrace.recording.names import mapping_names
from tests.unit.recording.samples import fork, vma

MAPS = b"""\
00001000-00002000 rw-p 00000000 00:00 0                          [heap]
00003000-00004000 r--p 00000000 fe:01 1234    /usr/lib/with two  spaces.so
00005000-00006000 rw-p 00000000 00:00 0
00007000-00009000 rw-p 00000000 00:00 0       [grown]
0000a000-0000b000 rw-p 00000000 fe:01 99      /tmp/\xff\\012
"""


def test_each_vma_that_is_still_there_gets_its_name(tmp_path: Path) -> None:
    (tmp_path / "42").mkdir()
    (tmp_path / "42/maps").write_bytes(MAPS)
    starts = (0x1000, 0x3000, 0x5000, 0x7000, 0xA000)
    details = tuple(vma(start, "anon_vma", 1) for start in starts)
    assert mapping_names(fork(details=details), tmp_path) == {
        0x1000: "[heap]",
        0x3000: "/usr/lib/with two  spaces.so",
        0xA000: r"/tmp/\udcff\012",
    }


def test_a_parent_that_is_gone_has_none(tmp_path: Path) -> None:
    assert mapping_names(fork(details=(vma(0x1000, "x", 1),)), tmp_path) == {}


def test_a_real_process_names_its_stack() -> None:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[stack]"):
            start = int(line.split("-")[0], 16)
            end = int(line.split("-")[1].split()[0], 16)
    found = vma(start, "anon_vma", 1)
    whole = type(found)(**{**vars(found), "end": end})
    one = fork(details=(whole,))
    mine = type(one)(**{**vars(one), "pid": os.getpid()})
    assert mapping_names(mine) == {start: "[stack]"}
