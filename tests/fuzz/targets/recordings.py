"""Recordings, and what forktrace measured: files that anybody may hand to anybody."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace

from forktrace.explain import measured
from forktrace.model import Fork
from forktrace.recording.long_lines import read_long
from forktrace.recording.reader import DAMAGE, is_recording
from forktrace.recording.records import Mappings
from forktrace.report.command import read
from forktrace.report.study import Study
from forktrace.views import report as view
from tests.fuzz.target import Target, as_file, scratch
from tests.unit.explain.test_measured import METRICS, fork_line
from tests.unit.recording.samples import (
    COW,
    EXEC,
    HEADER,
    STACK,
    VFORK,
    fork,
    vma,
    write,
)


def _report(data: bytes) -> None:
    """Do what ``forktrace report`` does with a file."""
    path = as_file("recording", data)
    is_recording(path)
    study = read(path)
    _show(study)


def _show(study: Study) -> None:
    for line in view.lines(study, 79):
        line.encode()
    json.dumps(study.to_json())


def _lines(data: bytes) -> None:
    """Take the lines after a good header, so that the fuzzer need not find gzip out."""
    _report(_packed(_line(HEADER.to_json()) + data))


def _header(data: bytes) -> None:
    _report(_packed(data))


def _long(data: bytes) -> None:
    """Take a long line apart, in small pieces: the same must come out as otherwise."""
    pieces = [data[:700], *(data[at : at + 64] for at in range(700, len(data), 64))]
    found, unkept = read_long(iter(pieces))
    record = json.loads(data)
    assert unkept == 0
    if isinstance(found, Mappings):
        assert found == Mappings.from_json(record)
        return
    whole = Fork.from_json(record)
    in_order = sorted(whole.details or (), key=lambda vma: vma.copy_ns, reverse=True)
    in_order.sort(key=lambda vma: vma.start)
    assert found == replace(whole, details=tuple(in_order))


def _long_lines() -> Sequence[bytes]:
    vmas = tuple(vma(0x1000 * n, "pfnmap", n % 3) for n in range(5))
    names = {each.start: f'"lib",{each.start}' for each in vmas}
    forked = {"type": "fork", **fork(details=vmas).to_json()}
    records = (forked, Mappings(42, names).to_json())
    return [json.dumps(each, separators=(",", ":")).encode() for each in records]


def _measured(data: bytes) -> None:
    measured.read(str(as_file("measured", data)))


def _packed(text: bytes) -> bytes:
    return gzip.compress(text, 1)


def _line(record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _recorded(*, ended: bool = True) -> bytes:
    path = scratch() / "seed"
    path.unlink(missing_ok=True)
    failed = fork(3, comm="a\u2028\x1b", trigger="pfnmap+mixedmap")
    called = replace(fork(1), stack=STACK)
    return write(
        path, [called, failed], execs=[EXEC, VFORK, COW], ended=ended
    ).read_bytes()


def _text(data: bytes) -> bytes:
    text = b""
    while data:
        member = zlib.decompressobj(wbits=31)
        text += member.decompress(data)
        data = member.unused_data
    return text


def _of_lines() -> Sequence[bytes]:
    detailed = scratch() / "detailed"
    detailed.unlink(missing_ok=True)
    texts = (_text(write(detailed).read_bytes()), _text(_recorded()))
    whole = [text.partition(b"\n")[2] for text in texts]
    return [*whole, *(line for text in whole for line in text.splitlines(True))]


TARGETS = (
    Target("recording", _report, lambda: [_recorded(), _recorded(ended=False)]),
    Target("recording_header", _header, lambda: [_line(HEADER.to_json())]),
    Target("recording_lines", _lines, _of_lines),
    Target("recording_long_lines", _long, _long_lines, DAMAGE),
    Target(
        "measured",
        _measured,
        lambda: [METRICS.encode(), f"{fork_line(3, 4096)}\n{fork_line(9, 0)}".encode()],
    ),
)
