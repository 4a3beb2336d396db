"""A recording is read wherever it was cut; what is no recording is refused in words."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forktrace.errors import EXIT_FAILED, EXIT_USAGE, ForktraceError
from forktrace.model import Fork
from forktrace.recording import reader
from forktrace.recording.reader import Record, Recording
from forktrace.recording.records import VERSION
from tests.unit.recording import strategies
from tests.unit.recording.samples import (
    DETAILED,
    EXEC,
    HEADER,
    MAPPINGS,
    PROGRESS,
    SUMMARY,
    fork,
    vma,
    write,
)


def read(path: Path) -> tuple[list[Record], bool]:
    with Recording(path) as recording:
        return list(recording.records()), recording.cut


def said_of(path: Path) -> str:
    """Return what reading complains of, if at all."""
    try:
        read(path)
    except ForktraceError as error:
        return error.message
    return ""


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_everything_comes_back_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "r", [DETAILED, fork(1)])
    with Recording(path) as recording:
        assert recording.header == HEADER
        found = list(recording.records())
        assert recording.summary == SUMMARY
        assert not recording.cut
    assert found == [MAPPINGS, DETAILED, fork(1), EXEC, PROGRESS, SUMMARY]


@settings(max_examples=30)
@given(st.lists(strategies.forks, max_size=5))
def test_any_fork_comes_back(tmp_path: Path, forks: list[Fork]) -> None:
    path = tmp_path / "r"
    path.unlink(missing_ok=True)
    found, _ = read(write(path, forks))
    assert [each for each in found if isinstance(each, Fork)] == forks


def test_lines_longer_than_a_piece_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r", [DETAILED, fork(1)])
    whole = read(path)
    monkeypatch.setattr(reader, "_CHUNK", 7)
    assert read(path) == whole


def test_a_line_in_many_pieces_takes_time_in_proportion(tmp_path: Path) -> None:
    def seconds(length: int) -> float:
        text = lines(HEADER.to_json()) + b'"' + b" " * length + b'"'
        (tmp_path / "r").write_bytes(gzip.compress(text, 1))
        began = time.process_time()
        read(tmp_path / "r")
        return time.process_time() - began

    seconds(1 << 20)
    # Adding each piece to what is there would make it a hundred times as long.
    assert seconds(200 << 20) < 40 * max(seconds(20 << 20), 0.01)


def test_a_line_longer_than_any_fork_takes_is_left_out_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = b"x" * (64 << 20)
    good = lines(PROGRESS.to_json())
    text = lines(HEADER.to_json()) + odd + b"\n" + good + odd + b"\n" + b"{}\n"
    (tmp_path / "r").write_bytes(gzip.compress(text, 1))
    monkeypatch.setattr(reader, "_LONGEST_LINE", 1 << 20)
    tracemalloc.start()
    try:
        with Recording(tmp_path / "r") as recording:
            records = recording.records()
            assert next(records) == PROGRESS
            with pytest.raises(ForktraceError, match="is damaged at line 5"):
                next(records)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_the_fork_of_a_process_with_a_million_vmas_is_read() -> None:
    record = vma(0x7FFF_FFFF_F000, "anon_vma", 10**9).to_json()
    one = json.dumps(record, separators=(",", ":"))  # as the writer does
    assert len(one) * 1_000_000 < reader._LONGEST_LINE


def test_cut_anywhere_it_is_read_up_to_there(tmp_path: Path) -> None:
    data = write(tmp_path / "r", [fork(n) for n in range(4)]).read_bytes()
    whole, _ = read(tmp_path / "r")
    cut = tmp_path / "cut"
    header = len(gzip.compress(lines(HEADER.to_json()), 6))
    seen = 0
    for length in range(header + 40, len(data)):
        cut.write_bytes(data[:length])
        found, was_cut = read(cut)
        assert found == whole[: len(found)]
        # All text of the last member may be there although its checksum is not.
        assert was_cut or found == whole
        assert len(found) >= seen
        seen = len(found)
    assert seen >= len(whole) - 1


def test_zeros_after_a_power_failure_are_a_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "r", ended=False)
    path.write_bytes(path.read_bytes() + bytes(100_000))
    found, cut = read(path)
    assert cut
    assert found == [MAPPINGS, DETAILED, EXEC, PROGRESS]


def test_a_kind_of_line_from_a_later_forktrace_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(
        gzip.compress(lines(HEADER.to_json(), {"type": "weather"}, SUMMARY.to_json()))
    )
    assert read(path) == ([SUMMARY], False)


NO_RECORDING = {
    "empty": b"",
    "text": b"hello\n" * 100,
    "binary": bytes(range(256)) * 100,
    "zeros": bytes(4096),
    "gzip of text": gzip.compress(b"hello\n"),
    "gzip of nothing": gzip.compress(b""),
    "gzip of other JSON": gzip.compress(b'{"a": 1}\n'),
    "gzip of a list": gzip.compress(b"[1]\n"),
    "gzip of deep JSON": gzip.compress(b"[" * 100_000 + b"\n"),
    "gzip of a huge line": gzip.compress(bytes(10_000_000)),
    "gzip cut in its header": gzip.compress(b"hello\n")[:5],
    "newer": gzip.compress(lines({**HEADER.to_json(), "version": VERSION + 1})),
    "odd version": gzip.compress(lines({**HEADER.to_json(), "version": "x"})),
    "header without kernel": gzip.compress(
        lines({k: v for k, v in HEADER.to_json().items() if k != "kernel"})
    ),
    "header with odd rule": gzip.compress(lines({**HEADER.to_json(), "rule": []})),
}


@pytest.mark.parametrize("data", NO_RECORDING.values(), ids=NO_RECORDING)
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r").write_bytes(data)
    with pytest.raises(ForktraceError) as refusal:
        read(tmp_path / "r")
    assert refusal.value.exit_status == EXIT_FAILED
    assert "\n" not in refusal.value.message + refusal.value.advice


def test_a_newer_format_says_who_can_read_it(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(NO_RECORDING["newer"])
    with pytest.raises(ForktraceError, match=f"version {VERSION + 1}") as refusal:
        read(tmp_path / "r")
    assert "0.1.0" in refusal.value.advice


DAMAGED = {
    "no JSON": b"{nonsense\n",
    "no object": b"5\n",
    "no type": b"{}\n",
    "half a fork": lines({"type": "fork"}),
    "a fork with odd numbers": lines({"type": "fork", **DETAILED.to_json(), "pid": []}),
    "odd names": lines({"type": "mappings", "pid": 1, "names": {"zz": "x"}}),
    "odd losses": lines({**PROGRESS.to_json(), "lost": {"a": "b"}}),
    "deep": b"[" * 100_000 + b"\n",
    "more after the end": lines(SUMMARY.to_json(), PROGRESS.to_json()),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_told_with_its_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r").write_bytes(gzip.compress(lines(HEADER.to_json()) + data))
    with pytest.raises(ForktraceError, match=r"is damaged at line [23]"):
        read(tmp_path / "r")


@settings(max_examples=200)
@given(st.data())
def test_whatever_is_changed_there_is_no_other_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "r"
    path.unlink(missing_ok=True)
    good = write(path, [DETAILED]).read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    put = data.draw(st.binary(min_size=1, max_size=4))
    path.write_bytes(good[:at] + put + good[at + len(put) :])
    assert "\n" not in said_of(path)


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda path: None, EXIT_USAGE),
        (lambda path: path.mkdir(), EXIT_USAGE),
    ],
    ids=["missing", "directory"],
)
def test_no_file_is_wrong_usage(
    tmp_path: Path, make: Callable[[Path], None], status: int
) -> None:
    make(tmp_path / "r")
    with pytest.raises(ForktraceError) as refusal:
        Recording(tmp_path / "r")
    assert refusal.value.exit_status == status


def test_a_file_of_somebody_else_is_told_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r")

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ForktraceError, match="may not be read") as refusal:
        Recording(path)
    assert refusal.value.exit_status == EXIT_FAILED
    assert "chown" in refusal.value.advice
