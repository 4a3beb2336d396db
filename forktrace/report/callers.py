"""Adds the stacks of forks up to a tree of who called fork."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from forktrace.model import Fork
from forktrace.stacks.frames import Frame

_MOST_NODES = 20_000
# A file may say anything, and a tree is gone through by recursion.
_DEEPEST = 256


@dataclass
class Caller:
    """A function, and what the forks cost that came about below it.

    The root of a tree is the process; ``module`` is empty there, and where it is not
    known. ``called`` are the functions that it called, by name and module.
    """

    function: str
    module: str = ""
    forks: int = 0
    duration_ns: int = 0
    page_table_bytes: int = 0
    called: dict[tuple[str, str], Caller] = field(default_factory=dict)

    def add(self, fork: Fork) -> None:
        """Add what one fork cost."""
        self.forks += 1
        self.duration_ns += fork.duration_ns
        self.page_table_bytes += fork.page_table_bytes

    def ranked(self) -> list[Caller]:
        """Return what it called, that with most time first."""
        return sorted(
            self.called.values(), key=lambda each: (-each.duration_ns, each.function)
        )

    def chain(self) -> Iterator[Caller]:
        """Yield it and what it called, as long as that was one function alone."""
        caller = self
        yield caller
        while len(caller.called) == 1:
            (below,) = caller.called.values()
            if below.forks != caller.forks:
                return
            caller = below
            yield caller

    def to_json(self) -> dict[str, Any]:
        """Return it, and below it what it called, as one object."""
        return {
            "function": self.function,
            "module": self.module,
            "forks": self.forks,
            "duration_ns": self.duration_ns,
            "page_table_bytes": self.page_table_bytes,
            "called": [each.to_json() for each in self.ranked()],
        }


class Callers:
    """The trees of all processes, by name; memory is bounded.

    ``missing`` is how many forks came without a stack, ``cut`` of how many the
    outermost functions are missing.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._trees: dict[str, Caller] = {}
        self._nodes = 0
        self.missing = self.cut = 0

    def add(self, fork: Fork) -> None:
        """Add one fork."""
        if fork.stack is None:
            self.missing += 1
            return
        self.cut += fork.stack.cut
        caller = self._trees.get(fork.comm)
        if caller is None:
            if self._nodes >= _MOST_NODES:
                self.missing += 1
                return
            self._nodes += 1
            caller = self._trees[fork.comm] = Caller(fork.comm)
        caller.add(fork)
        for frame in fork.stack.frames[: -_DEEPEST - 1 : -1]:
            below = self._below(caller, frame)
            if below is None:
                break
            caller = below
            caller.add(fork)

    def _below(self, caller: Caller, frame: Frame) -> Caller | None:
        key = (frame.function or f"{frame.address:#x}", frame.module)
        found = caller.called.get(key)
        if found is None and self._nodes < _MOST_NODES:
            self._nodes += 1
            found = caller.called[key] = Caller(*key)
        return found

    def ranked(self) -> tuple[Caller, ...]:
        """Return the trees, that with most time first; none where none has a stack."""
        trees = self._trees.values()
        return tuple(sorted(trees, key=lambda tree: (-tree.duration_ns, tree.function)))
