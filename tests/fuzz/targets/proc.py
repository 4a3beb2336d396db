"""Files of /proc about a process: any process chooses its name and its mappings'."""

from __future__ import annotations

import ctypes
import json
import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from forktrace import procfs
from forktrace.explain import pasted
from forktrace.explain.advice import advise
from forktrace.explain.predict import forecast
from forktrace.explain.process import Process
from forktrace.explain.refusals import refusals
from forktrace.explain.report import Answer, Subject
from forktrace.kernel.abi import abi
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import rule_of_release
from forktrace.recording.names import mapping_names
from forktrace.stacks.callers import Callers
from forktrace.stacks.perf_map import PerfMap
from forktrace.views import explain as view
from tests.fuzz.target import Target, as_file, scratch
from tests.unit.explain import samples
from tests.unit.recording.samples import DETAILED

_RULE = rule_of_release("7.3")
_NAMES = FlagNames.of("7.3.4", {})
_PASTED = Path(samples.__file__).parent / "smaps"
_BETWEEN = b"\n----\n"
# No process has more; where pagemap is closed, sets are built of what smaps says.
_MOST_HELD = 1 << 40
_BEYOND = 1 << 57

_SMAPS = b"""\
10000-30000 rw-s 0001f000 00:01 1026                           /dev/zero (deleted)
Size:                128 kB
KernelPageSize:        4 kB
Rss:                  60 kB
Anonymous:             8 kB
Swap:                  0 kB
ShmemPmdMapped:        0 kB
THPeligible:           0
VmFlags: rd wr sh mr mw me ms gu uw zz \n\
200000-600000 rw-p 00000000 00:00 0                            [heap]
Size:               4096 kB
KernelPageSize:     2048 kB
Rss:                   0 kB
Private_Hugetlb:    2048 kB
VmFlags: rd wr mr mw me ht ac dc \n\
7ffdd6d3a000-7ffdd6d5b000 r--p 00000000 00:00 0                [vvar]
Size:                132 kB
Rss:                   0 kB
VmFlags: rd mr pf io de dd wf mm ur \n"""
_STATUS = b"Name:\tredis\\012-server\nTgid:\t4711\nVmPTE:\t     180 kB\n"
_FDINFO = b"""\
pos:\t0
flags:\t02
API:\taa:1802:1ff
UserBufs:\t2
    0: 0x200000/8192
    1: <none>
"""
_PAGEMAP = (
    bytes(128) + (1 << 63).to_bytes(8, "little") * 8 + (3 << 57).to_bytes(8, "big")
)
_MAPS = b"""\
1000-2000 r-xp 00000000 00:01 1026                           /usr/lib/a b.so (deleted)
3000-4000 rw-p 00000000 00:00 0                              [heap]
7ffd000-7ffe000 rw-p 00000000 00:00 0 \n"""


@lru_cache(maxsize=1)
def _process() -> str:
    """Return what stands for a process id: its folder is ours."""
    folder = scratch() / "process"
    for part in ("fd", "fdinfo"):
        (folder / part).mkdir(parents=True)
    (folder / "fd/3").symlink_to("anon_inode:[userfaultfd]")
    (folder / "fd/4").symlink_to("anon_inode:[io_uring]")
    (folder / "fdinfo/4").symlink_to("3")
    return f"self/root{folder}"


def _explain(data: bytes) -> None:
    """Do what ``forktrace explain`` does with a process."""
    pid = _process()
    parts = [*data.split(_BETWEEN, 3), b"", b"", b""][:4]
    for name, part in zip(("smaps", "status", "fdinfo/3", "pagemap"), parts):
        (scratch() / "process" / name).write_bytes(part)
    vmas = procfs.read_smaps(pid)
    if not all(vma.rss < _MOST_HELD and vma.end < _BEYOND for vma in vmas):
        return
    process = Process.read(pid)  # type: ignore[arg-type]
    found = forecast(process, _RULE, _NAMES)
    subject = Subject("7.3.4", None, _RULE, _NAMES, None)
    refused = refusals(pid, process.vmas)  # type: ignore[arg-type]
    answer = Answer(subject, found, advise(found), None, refused)
    for line in view.lines(answer, 79):
        line.encode()
    answer.to_json()


def _pasted(data: bytes) -> None:
    """Do what ``forktrace explain --smaps`` does with a file."""
    found = pasted.answer(str(as_file("pasted", data)), None, None)
    for line in view.lines(found, 79):
        line.encode()
    json.dumps(found.to_json()).encode()


def _maps(data: bytes) -> None:
    (scratch() / "7").mkdir(exist_ok=True)
    (scratch() / "7/maps").write_bytes(data)
    for name in mapping_names(replace(DETAILED, pid=7), scratch()).values():
        os.fsencode(name).decode()


def _perf_map(data: bytes) -> None:
    (scratch() / "tmp").mkdir(exist_ok=True)
    (scratch() / "tmp/perf-7.map").write_bytes(data)
    names = PerfMap(scratch(), 7, frozenset({os.getuid()}))
    names.refresh()
    for address in (0, 0x1000, 1 << 63):
        names.name(address).encode()


@lru_cache(maxsize=1)
def _callers() -> tuple[Callers, int]:
    """Return what unwinds, and an address in code that has call frame information."""
    function = ctypes.cast(ctypes.CDLL(None).fork, ctypes.c_void_p).value
    assert function
    return Callers(abi().registers), function


def _stack(data: bytes) -> None:
    """Unwind a stack of any bytes, as if this process had called fork with it."""
    callers, function = _callers()
    layout = abi().registers
    head = data[: 8 * layout.words].ljust(8 * layout.words, b"\0")
    words = memoryview(bytearray(head)).cast("Q").tolist()
    words[layout.pc] = function + words[layout.pc] % 64
    stack = callers.stack(os.getpid(), words, data[len(head) :])
    assert stack
    json.dumps(stack.to_json()).encode()


TARGETS = (
    Target("perf_map", _perf_map, lambda: [b"1000 40 py::main:/a.py\n1040 8 b c\n"]),
    Target("stack", _stack, lambda: [bytes(range(256)) * 16]),
    Target(
        "process",
        _explain,
        lambda: [_BETWEEN.join((_SMAPS, _STATUS, _FDINFO, _PAGEMAP))],
    ),
    Target("maps", _maps, lambda: [_MAPS]),
    Target(
        "pasted",
        _pasted,
        lambda: [
            _SMAPS,
            *(path.read_bytes()[:8000] for path in sorted(_PASTED.glob("*.txt"))),
        ],
    ),
)
