"""What the rows of a report's processes and cgroups are sorted by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

from forktrace.report.study import Group

Order = Callable[[Group], Union[int, str]]

COST = "cost"
SORTS: dict[str, Order] = {
    COST: lambda group: -group.copy_ns,
    "time": lambda group: -group.durations.sum,
    "duration": lambda group: -group.durations.highest,
    "forks": lambda group: -group.forks,
    "tables": lambda group: -group.page_table_bytes,
    "waste": lambda group: -group.exec_discards.page_table_bytes,
    "name": lambda group: group.name,
}
"""As ``top`` calls them: ``duration`` is the longest fork; ``time`` is that of all."""
