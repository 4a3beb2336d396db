"""Colours for what is printed, where a terminal shows them and nobody said no.

Views make plain lines; what in them deserves a colour is said here, once for all.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Literal, TextIO

_BOLD, _RED, _GREEN, _YELLOW, _CYAN = "1", "31", "32", "33", "36"

_STYLES = (
    # The head of a table, and of a paragraph.
    (re.compile(r"^ *[A-Z][A-Z_/ ]+[A-Z](?:/s)?(?: +[A-Z_/s]+)+$"), _BOLD),
    (re.compile(r"^(?:What to do|What /proc cannot tell):$"), _BOLD),
    (re.compile(r"^A fork of .*|^forktrace on .*"), _BOLD),
    (re.compile(r"\bselftest passed\b|^ok\b|^This host can be traced\.$"), _GREEN),
    (re.compile(r"\bselftest FAILED\b|\bFAIL\b.*|^NO\b|.*\bcannot be traced\.$"), _RED),
    (re.compile(r"^Lost: .*|\blost: [^;]*|^ +fix: .*|\bdiscarded by exec\b"), _YELLOW),
    # The flags of VM_COPY_ON_FORK, which people look for.
    (
        re.compile(r"\b(?:pfnmap|maybe_guard|uffd_wp|hugetlb|mixedmap|uffd_rwp)\b"),
        _CYAN,
    ),
)


When = Literal["auto", "always", "never"]
_chosen: list[When] = ["auto"]


def choose(when: When) -> When:
    """Say when there are colours, for this whole process."""
    _chosen[0] = when
    return when


def wanted(stream: TextIO) -> bool:
    """Tell whether to write colours to ``stream``.

    Unless it was chosen: NO_COLOR says no, FORCE_COLOR yes, and then a terminal that
    has them does.
    """
    if _chosen[0] != "auto":
        return _chosen[0] == "always"
    if os.environ.get("NO_COLOR"):
        return False
    dumb = os.environ.get("TERM", "dumb") in ("", "dumb")
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and not dumb)


def coloured(line: str) -> str:
    """Return a line with the escape sequences of its colours."""
    for pattern, style in _STYLES:
        # Only where nothing is coloured yet: what comes first counts.
        if "\x1b" not in line:
            line = pattern.sub(lambda found: f"\x1b[{style}m{found[0]}\x1b[0m", line)  # noqa: B023
    return line


def print_lines(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Print lines (to stdout unless told otherwise), in colours where wanted."""
    stream = stream or sys.stdout
    if wanted(stream):
        lines = map(coloured, lines)
    print(*lines, sep="\n", file=stream)
