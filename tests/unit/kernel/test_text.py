"""Kernel text comes out of an ELF core such as /proc/kcore, or a reason does."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from forktrace.kernel.symbols import Symbol
from forktrace.kernel.text import Unreadable, read_kcore

if TYPE_CHECKING:
    from pathlib import Path

TEXT = 0xFFFFFFFF81000000


def core(tmp_path: Path, content: bytes = b"0123456789") -> str:
    """Write an ELF core of a note, another segment, and kernel text."""
    table, start = 64, 64 + 3 * 56
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 4, 62, 1, 0, table, 0, 0, 64, 56, 3, 0, 0, 0,
    )  # fmt: skip
    segments = [(4, 0, 0, 0), (1, start, 0x1000, 4), (1, start, TEXT, len(content))]
    for kind, offset, address, size in segments:
        header += struct.pack("<IIQQQQQQ", kind, 5, offset, address, 0, size, size, 1)
    path = tmp_path / "kcore"
    path.write_bytes(header + content)
    return str(path)


def code_of(address: int, size: int, path: str) -> bytes:
    return read_kcore(Symbol("copy_page_range", address, size), path).code


def test_the_segment_that_holds_the_address_is_read(tmp_path: Path) -> None:
    assert code_of(TEXT + 2, 3, core(tmp_path)) == b"234"


def test_an_address_outside_is_a_reason(tmp_path: Path) -> None:
    for address, size in ((TEXT - 1, 2), (TEXT + 8, 3), (0x500, 1)):
        with pytest.raises(Unreadable, match=f"{address:#x}"):
            code_of(address, size, core(tmp_path))


def test_a_core_cut_short_is_a_reason(tmp_path: Path) -> None:
    path = core(tmp_path)
    for size in (0, 40, 64, 100, os.path.getsize(path) - 1):
        os.truncate(path, size)
        with pytest.raises(Unreadable):
            code_of(TEXT, 10, path)
        path = core(tmp_path)


def test_hidden_addresses_are_a_reason(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="kptr_restrict"):
        code_of(0, 10, core(tmp_path))


def test_a_kernel_without_kcore_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="CONFIG_PROC_KCORE"):
        code_of(TEXT, 1, str(tmp_path / "none"))


def test_a_directory_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        code_of(TEXT, 1, str(tmp_path))
