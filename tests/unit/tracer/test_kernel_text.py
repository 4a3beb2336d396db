"""Where neither /proc/kcore nor a probe may read the code, both reasons are told."""

from __future__ import annotations

import errno
import os

import pytest

from forktrace.errors import Unsupported
from forktrace.kernel.abi import abi
from forktrace.kernel.symbols import Symbol
from forktrace.kernel.text import Text, Unreadable
from forktrace.tracer import hidden, kernel_text

SYMBOL = Symbol("copy_page_range", 0xFFFFFFFF81000040, 16)


def closed(symbol: Symbol) -> Text:
    raise Unreadable("kcore is closed")


def refused(symbol: Symbol) -> Text:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_both_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_text, "read_kcore", closed)
    monkeypatch.setattr(kernel_text, "read_by_probe", refused)
    with pytest.raises(Unreadable, match=r"kcore is closed; .*not permitted"):
        kernel_text.read_text(SYMBOL)


def test_an_unknown_architecture_is_named_with_those_that_are_known() -> None:
    with pytest.raises(Unsupported, match="riscv64") as refusal:
        abi("riscv64")
    assert "x86_64 and aarch64" in refusal.value.advice


def test_the_program_jumps_to_its_own_ends() -> None:
    """Each jump lands on an instruction that is not the half of another."""
    _check(kernel_text._program(abi("x86_64"), 7))
    _check(hidden._program(7, 8))


def _check(code: bytes) -> None:
    instructions = [code[at : at + 8] for at in range(0, len(code), 8)]
    wide = {at + 1 for at, each in enumerate(instructions) if each[0] == 0x18}
    for at, each in enumerate(instructions):
        if each[0] in (0x15, 0x55):
            target = at + 1 + int.from_bytes(each[2:4], "little", signed=True)
            assert target < len(instructions)
            assert target not in wide
