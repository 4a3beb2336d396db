"""The running kernel, asked where not everything can be read."""

from __future__ import annotations

import os

import pytest

from forktrace.kernel import symbols
from forktrace.kernel.running import RunningKernel


def test_without_kallsyms_a_table_tells_the_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hidden(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", symbols.KALLSYMS)

    monkeypatch.setattr(symbols, "_read", hidden)
    kernel = RunningKernel.read(None)
    assert kernel.release == os.uname().release
    assert kernel.rule.read_from == "table"
    assert "copy_page_range" not in kernel.symbols
