"""Turns what code chose by anything but flags and anon_vma into the other choice.

A jump, or a value made of the processor's flags, that only ever went one way in the
calls with one filling of memory may hang on state that no filling has: a variable that
is 5, say. Turned alone and with others it shows what the code would do then. Where that
is something else, the code decides by more than the rule says.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from forktrace.kernel.decision import Undecodable
from forktrace.kernel.study import MORE, Study, Trial

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from forktrace.kernel.emulation import Call, Vmas
    from forktrace.kernel.fillings import Filling

_MOST = 2000
"""Calls after which there are too many combinations."""
_GUARD = 8  # instructions within which a stack guard is loaded and compared


def hold_against_turns(study: Study, some: Iterable[Filling]) -> None:
    """Hold the rule against calls with these fillings in which choices were turned."""
    turns = _Turns(study)
    for filling in some:
        turns.hold(filling)


class _Turns:
    def __init__(self, study: Study) -> None:
        self._study = study
        self._left = _MOST
        self._settled = _asking_vmas(study.trials)
        self._guards: set[int] = set()

    def hold(self, filling: Filling) -> None:
        """Turn everything in calls with each kind of VMA, alone and together."""
        study = self._study
        study.refill(filling)
        for vmas in study.samples():
            seen: set[frozenset[int]] = set()
            pending = [(frozenset[int](), study.call(vmas))]
            while pending:
                turned, call = pending.pop()
                for at in self._open(call):
                    more = turned | {at}
                    if more in seen:
                        continue
                    seen.add(more)
                    self._count()
                    other = Trial(filling, vmas, study.call(vmas, more))
                    if study.reports(other.call):
                        continue
                    if other.contradicts(study.rule, turned=True):
                        if not self._is_guard(vmas, call, turned, at):
                            raise Undecodable(MORE)
                    else:
                        pending.append((more, other.call))

    def _open(self, call: Call) -> Iterator[int]:
        """Yield where the call chose by something else than the VMAs."""
        for at, _ in call.choices:
            if at not in self._settled and at not in self._guards:
                yield at

    def _count(self) -> None:
        self._left -= 1
        if not self._left:
            raise Undecodable("the code chooses too often by other things")

    def _is_guard(
        self, vmas: Vmas, call: Call, turned: Collection[int], at: int
    ) -> bool:
        """Tell whether a choice asks if a variable is as it was a moment before.

        So does the check of the stack's guard as a function returns. It goes the other
        way when the kernel's variables change shortly before it.
        """
        index = call.trace.index(at)
        for place in call.trace[max(0, index - _GUARD) : index]:
            disturbed = self._study.call(vmas, turned, disturb=place)
            came = disturbed.trace[: index + 1] == call.trace[: index + 1]
            if came and dict(disturbed.choices)[at] != dict(call.choices)[at]:
                self._guards.add(at)
                return True
        return False


def _asking_vmas(trials: Iterable[Trial]) -> set[int]:
    """Return where calls with the same filling, but other VMAs, chose differently."""
    chosen: dict[tuple[int, int], set[bool]] = defaultdict(set)
    for trial in trials:
        for at, holds in trial.call.choices:
            chosen[id(trial.filling), at].add(holds)
    return {at for (_, at), ways in chosen.items() if len(ways) > 1}
