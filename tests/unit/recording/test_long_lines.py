"""Lines too long to be read at once: the same comes out, in bounded memory."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.errors import ForktraceError
from forktrace.model import Fork, Vma
from forktrace.recording import long_lines, reader
from forktrace.recording.reader import Recording
from forktrace.recording.records import Mappings
from tests.unit.recording.samples import DETAILED, HEADER, SUMMARY, fork, vma, write

_MOST_KB = 256 << 10
# The peak of this process alone: what getrusage() tells has its parent's in it.
_REPORT = """
import sys
from forktrace.__main__ import main
for path in sys.argv[1:]:
    try:
        main(["report", path])
    except SystemExit as ended:
        print("ended", ended.code, end=" ", file=sys.stderr)
    with open("/proc/self/status") as status:
        print(next(line for line in status if "VmHWM" in line), file=sys.stderr)
"""
_ENDED = re.compile(
    r"(.*?)^ended (\d+) VmHWM:\s*(\d+) kB\n\n", re.MULTILINE | re.DOTALL
)


def compact(record: object) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()


VMA = compact(vma(0x7FFF_FFFF_F000, "anon_vma", 10**9).to_json())
FORK = compact({"type": "fork", **fork(details=()).to_json()}).removesuffix(b"]}")


def pack(path: Path, *texts: tuple[bytes, int]) -> Path:
    """Write a header and then each text so many times."""
    with path.open("wb") as file:
        file.write(gzip.compress(compact(HEADER.to_json()) + b"\n", 1))
        for text, times in texts:
            many = min(times, (1 << 20) // len(text) + 1)
            file.write(gzip.compress(text * many, 1) * (times // many))
            file.write(gzip.compress(text * (times % many), 1))
    return path


def report(*paths: Path) -> list[tuple[int, str, int]]:
    """Report recordings one after the other.

    Return of each the exit status, what was complained of, and the peak of memory in kB
    up to there.
    """
    ran = subprocess.run(
        [sys.executable, "-c", _REPORT, *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    found = _ENDED.findall(ran.stderr)
    assert len(found) == len(paths), ran.stderr
    return [(int(status), said.strip(), int(peak)) for said, status, peak in found]


@pytest.fixture
def _everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_WHOLE_LINE", 600)
    monkeypatch.setattr(reader, "_CHUNK", 7)


@pytest.mark.usefixtures("_everything_is_long")
def test_the_same_comes_out_whatever_the_length(tmp_path: Path) -> None:
    many = tuple(vma(0x1000 * n, "pfnmap", n) for n in range(1, 30))
    names = {each.start: f'/usr/"lib",{each.start}' for each in many}
    names[0x1000], names[0x2000] = ",", '","0x3"'
    path = write(tmp_path / "r", [DETAILED, replace(DETAILED, details=many)])
    before = reader_sees(path)
    assert many in [each.details for each in before if isinstance(each, Fork)]
    pack(tmp_path / "n", (compact(Mappings(42, names).to_json()) + b"\n", 1))
    assert reader_sees(tmp_path / "n") == [Mappings(42, names)]


def reader_sees(path: Path) -> list[object]:
    with Recording(path) as recording:
        found: list[object] = list(recording.records())
        assert (recording.left_out, recording.unkept) == (0, 0)
    return found


@pytest.mark.usefixtures("_everything_is_long")
def test_of_too_many_vmas_the_costliest_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_lines, "MOST_VMAS", 5)
    many = tuple(vma(0x1000 * n, "pfnmap", n * 7 % 30) for n in range(1, 30))
    path = write(tmp_path / "r", [replace(DETAILED, details=many)], execs=())
    with Recording(path) as recording:
        _, found, *_ = recording.records()
        assert recording.unkept == 24
    assert isinstance(found, Fork)
    assert found.details == tuple(each for each in many if each.copy_ns >= 25)


@pytest.mark.usefixtures("_everything_is_long")
def test_of_too_many_names_none_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a mapping whose name was left out would seem to be anonymous."""
    monkeypatch.setattr(long_lines, "_MOST_NAME_BYTES", 1000)
    names = {0x1000 * n: f"/usr/lib/{n}" for n in range(100)}
    path = pack(tmp_path / "r", (compact(Mappings(42, names).to_json()) + b"\n", 1))
    with Recording(path) as recording:
        assert list(recording.records()) == [Mappings(42, {})]
        assert recording.unkept == 100


@pytest.mark.usefixtures("_everything_is_long")
def test_cut_off_within_a_long_line_it_is_read_up_to_there(tmp_path: Path) -> None:
    path = pack(tmp_path / "r", (FORK + VMA, 1), (b"," + VMA, 20))
    with Recording(path) as recording:
        assert list(recording.records()) == []
        assert recording.cut


def shapes() -> Iterator[tuple[str, tuple[tuple[bytes, int], ...]]]:
    """Name lines just below the limit that would take gigabytes as Python's objects."""
    most = reader._LONGEST_LINE - (1 << 20)
    for name, begin, again in (
        ("lists", b"[", b"[],"),
        ("deep", b"[", b"["),
        ("deep objects", b"{", b'"a":{'),
        ("numbers", b"[", b"0,"),
        ("objects", b"[", b'{"a":1},'),
        ("vmas that are none", FORK, b'{"a":{},"b":0},'),
        ("vmas with flags that are none", FORK + b'{"flags":[', b'"\xc4\x80",'),
        ("names that are none", b'{"type":"mappings","pid":1,"names":{', b'"0":[],'),
    ):
        times = (most - len(begin)) // len(again)
        yield name, ((begin, 1), (again, times), (b"0\n", 1))
    yield "empty lines", ((b"\n", most),)


SHAPES = dict(shapes())


def test_a_crafted_line_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    paths = [pack(tmp_path / name, *texts) for name, texts in SHAPES.items()]
    for name, (status, said, peak) in zip(SHAPES, report(*paths)):
        assert status == 1, name
        assert f"{name} is damaged at line 2: " in said
        assert "Traceback" not in said, name
        assert peak < _MOST_KB, name


@pytest.mark.timeout(900)
def test_the_fork_of_a_process_with_200_000_vmas_is_read_in_bounded_memory(
    tmp_path: Path,
) -> None:
    end = b"]}\n" + compact(SUMMARY.to_json()) + b"\n"
    path = pack(tmp_path / "r", (FORK, 1), (VMA + b",", 199_999), (VMA, 1), (end, 1))
    ((status, said, peak),) = report(path)
    left_out = 200_000 - long_lines.MOST_VMAS
    assert (status, said) == (
        0,
        f"forktrace: {left_out:,} VMAs and names were too many to keep; the VMAs that "
        "took longest to copy are.",
    )
    assert peak < _MOST_KB


def test_more_different_flags_than_a_kernel_has_are_refused(tmp_path: Path) -> None:
    one: Vma = vma(0x1000, "anon_vma", 1)
    every = (replace(one, flags=(f"flag{n}",)) for n in range(10_000))
    line = b",".join(compact(each.to_json()) for each in every)
    path = pack(tmp_path / "r", (FORK + line + b"]}\n", 1))
    with (
        Recording(path) as recording,
        pytest.raises(ForktraceError, match="line 2: its"),
    ):
        list(recording.records())
