"""Names in a report: of mappings, as told of a fork or before, and of what has none."""

from __future__ import annotations

from collections.abc import Mapping

from forktrace.model import Fork

OTHER = "(others)"
"""The group of all names that came when there were too many already."""

ANONYMOUS = "[anonymous]"
"""A mapping without a name."""

NOT_KNOWN = "(name not known)"
"""A mapping of a process that was gone before it could be asked."""

_MOST = 100_000


class MappingNames:
    """Keeps what was told, for forks whose parent was gone before it could be asked.

    A mapping is the same if process, start and end are. Memory is bounded.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._told: dict[tuple[int, int, int], str] = {}

    def of(self, fork: Fork, told: Mapping[int, str]) -> Mapping[int, str]:
        """Return the names of a fork's mappings by first address, "" for anonymous.

        ``told`` are those that were recorded with it; a mapping that is not in the
        answer was never told of.
        """
        names: dict[int, str] = {}
        for vma in fork.details or ():
            key = (fork.pid, vma.start, vma.end)
            if told:
                self._told[key] = told.get(vma.start, "")
            name = self._told.get(key)
            if name is not None:
                names[vma.start] = name
        while len(self._told) > _MOST:
            del self._told[next(iter(self._told))]
        return names
