"""The table of faults: every line, wrapped, and whether it held."""

from __future__ import annotations

from tests.faults.__main__ import BOOTS, WIDTHS, table
from tests.lab.cache import REPOSITORY

LINE = {"fault": "a full ring", "case": "kprobe", "promised": "all is counted"}


def test_a_line_says_what_was_promised_what_was_seen_and_whether_it_held() -> None:
    text = "\n".join(
        table([{**LINE, "seen": "23 of 23", "held": True}])
        + table([{**LINE, "seen": "22 of 23", "held": False}])
    )
    assert "a full ring [kprobe]" in text
    assert text.count("all is counted") == 2
    assert "23 of 23" in text
    assert [word for word in text.split() if word in ("yes", "NO")] == ["yes", "NO"]


def test_long_cells_are_wrapped() -> None:
    seen = "word " * 50
    lines = table([{**LINE, "seen": seen, "held": True}])
    assert max(map(len, lines)) <= sum(WIDTHS) + 2 * (len(WIDTHS) - 1)
    assert "\n".join(lines).count("word") == 50


def test_every_test_of_a_fault_has_its_boot() -> None:
    booted = " ".join(part for boot in BOOTS for part in boot.tests)
    for path in (REPOSITORY / "tests/live/guest/faults").glob("test_*.py"):
        assert path.name in booted
