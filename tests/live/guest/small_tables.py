"""forktrace with tables so small that they fill: 16 forks and 16 children at once.

Everything else, the program and the kernel included, is real.
"""

from __future__ import annotations

from forktrace import __main__ as forktrace
from forktrace.tracer.layout import Layout

SLOTS = CHILDREN = 16

if __name__ == "__main__":
    Layout.slots = SLOTS  # type: ignore[assignment]
    Layout.children = CHILDREN
    forktrace.main()
