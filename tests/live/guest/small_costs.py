"""forktrace with a table of costs so small that it fills: 128 names and cgroups.

Everything else, the program and the kernel included, is real.
"""

from __future__ import annotations

from forktrace import __main__ as forktrace
from forktrace.exporter import units
from forktrace.tracer.layout import Layout

PLACES = 128

if __name__ == "__main__":
    Layout.costs = PLACES
    units._MANY, units._MORE = PLACES // 4, PLACES // 16
    forktrace.main()
