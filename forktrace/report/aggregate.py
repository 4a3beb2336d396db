"""Adds a recording up as it is read; memory is bounded, however long it is."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from forktrace.cow import Cow
from forktrace.model import Exec, ExecDiscards, Fork, TriggerCost, VmaCounts
from forktrace.recording.costliest import TOP
from forktrace.recording.reader import Recording
from forktrace.recording.records import Mappings, Progress, Summary
from forktrace.report.callers import Callers
from forktrace.report.choice import ALL, Choice, Chosen
from forktrace.report.cow import CowSums
from forktrace.report.failures import Failures
from forktrace.report.names import ANONYMOUS, NOT_KNOWN, OTHER, MappingNames
from forktrace.report.order import COST, SORTS, Order
from forktrace.report.spread import Spread, place_of
from forktrace.report.study import CUT_OFF, Dear, Group, Point, Share, Study
from forktrace.report.timeline import Timeline
from forktrace.vforks import Vfork

_MOST_NAMES = 5_000
# Of one group; a rule's bits make some dozens at most.
_MOST_TRIGGERS = 256
# How many names are told apart just to be counted.
_MOST_COUNTED = 200_000
_ALL_POINTS = 4_000
_LONGEST_POINTS = 500
_MOST_SHARES = 20_000
_TELL_EACH = 1_000


@dataclass
class _Sums:
    """One group while it grows."""

    forks: int = 0
    failed: int = 0
    durations: Spread = field(default_factory=Spread)
    copy_ns: int = 0
    page_table_bytes: int = 0
    pinned_bytes: int = 0
    triggers: Counter[str] = field(default_factory=Counter)
    execs: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, fork: Fork, place: int) -> None:
        self.forks += 1
        self.failed += fork.outcome == "failed"
        self.durations.add(fork.duration_ns, place)
        self.copy_ns += fork.copy_ns
        self.page_table_bytes += fork.page_table_bytes
        self.pinned_bytes += fork.pinned_bytes or 0
        triggers = self.triggers
        for cost in fork.triggers:
            known = cost.trigger in triggers or len(triggers) < _MOST_TRIGGERS
            triggers[cost.trigger if known else OTHER] += cost.copy_ns

    def add_exec(self, discard: Exec) -> None:
        _add(self.execs, 1, discard.copy_ns, discard.page_table_bytes)

    def group(self, name: str, names: int) -> Group:
        return Group(
            name=name,
            forks=self.forks,
            failed=self.failed,
            durations=self.durations,
            copy_ns=self.copy_ns,
            page_table_bytes=self.page_table_bytes,
            triggers=dict(self.triggers.most_common()),
            exec_discards=ExecDiscards(*self.execs),
            names=names,
            pinned_bytes=self.pinned_bytes,
        )


class _Groups:
    """Groups by name, the late comers together."""

    def __init__(self) -> None:
        self._groups: dict[str, _Sums] = {}
        self._others: set[int] = set()

    def of(self, name: str) -> _Sums:
        found = self._groups.get(name)
        if found is None:
            if len(self._groups) >= _MOST_NAMES:
                name = self._other(name)
            found = self._groups.setdefault(name, _Sums())
        return found

    def _other(self, name: str) -> str:
        if len(self._others) < _MOST_COUNTED:
            self._others.add(hash(name))
        return OTHER

    def ranked(self, order: Order) -> tuple[Group, ...]:
        """Return them in an order; of equal ones those that copied longest first."""
        groups = [
            sums.group(name, len(self._others) if name == OTHER else 1)
            for name, sums in self._groups.items()
        ]
        groups.sort(
            key=lambda group: (
                *(order(group), -group.copy_ns),
                *(-group.durations.sum, group.name),
            )
        )
        return tuple(groups)


class _Dearest:
    """The longest forks; of those that took equally long, the first ones."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Dear]] = []

    def add(self, number: int, fork: Fork, names: Mapping[int, str]) -> None:
        if len(self._heap) >= TOP and fork.duration_ns <= self._heap[0][0]:
            return
        starts = (vma.start for vma in fork.details or ())
        mine = {start: names[start] for start in starts if start in names}
        entry = (fork.duration_ns, -number, Dear(fork, mine))
        if len(self._heap) < TOP:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def ranked(self) -> tuple[Dear, ...]:
        ordered = sorted(self._heap, key=lambda entry: entry[:2], reverse=True)
        return tuple(dear for _, _, dear in ordered)


class _LongVforks:
    """The vforks that held their callers longest, and how many there were."""

    def __init__(self) -> None:
        self.count = 0
        self._heap: list[tuple[int, int, Vfork]] = []

    def add(self, vfork: Vfork) -> None:
        self.count += 1
        entry = (vfork.held_ns, -self.count, vfork)
        if len(self._heap) < TOP:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def ranked(self) -> tuple[Vfork, ...]:
        return tuple(vfork for *_, vfork in sorted(self._heap, reverse=True))


class _Points:
    """Every fork while they are few, then the longest."""

    def __init__(self) -> None:
        self._all: list[Point] = []
        self._heap: list[tuple[int, int, Point]] = []
        self._many = False

    def add(self, number: int, since_ns: int, fork: Fork) -> None:
        heap = self._heap
        if self._many and fork.duration_ns <= heap[0][0]:
            return
        trigger = max(fork.triggers, key=_cost).trigger if fork.triggers else ""
        point = Point(
            since_ns, fork.duration_ns, fork.copy_ns, fork.comm, fork.pid, trigger
        )
        if len(heap) < _LONGEST_POINTS:
            heapq.heappush(heap, (fork.duration_ns, -number, point))
        elif fork.duration_ns > heap[0][0]:
            heapq.heapreplace(heap, (fork.duration_ns, -number, point))
        if not self._many:
            self._all.append(point)
            if len(self._all) > _ALL_POINTS:
                self._all, self._many = [], True

    def chosen(self) -> tuple[Point, ...]:
        chosen = [point for _, _, point in self._heap] if self._many else self._all
        return tuple(sorted(chosen, key=lambda point: (point.since_ns, point.pid)))


def _cost(cost: TriggerCost) -> int:
    return cost.copy_ns


class Aggregator:
    """Takes the records of a recording and makes a study of them."""

    def __init__(
        self, recording: Recording, choice: Choice = ALL, sort: str = COST
    ) -> None:
        """Begin with the header; ``study`` reads the rest, and takes what is chosen."""
        self._recording = recording
        self._choice, self._chosen = choice, Chosen(choice)
        self._order = SORTS[sort]
        self._began = max(recording.header.time_ns, choice.since_ns)
        self._last = self._began
        self._lost: Mapping[str, int] = {}
        self._failed = self._tables = self._pinned = self._detailed = 0
        self._durations, self._copies = Spread(), Spread()
        self._vmas = [0, 0, 0, 0, 0]
        self._triggers: dict[tuple[str, bool], list[int]] = {}
        self._processes, self._cgroups = _Groups(), _Groups()
        self._dearest, self._points = _Dearest(), _Points()
        self._execs = [0, 0, 0]
        self._parts: Counter[str] = Counter()
        self._failures = Failures()
        self._callers = Callers()
        self._cow = CowSums()
        self._vforks = _LongVforks()
        self._timeline = Timeline()
        self._shares: dict[tuple[str, str, str], list[int]] = {}
        self._told: tuple[int, Mapping[int, str]] = (0, {})
        self._names = MappingNames()

    def study(self, tell: Callable[[int], None] = lambda forks: None) -> Study:
        """Read all of it; raises ForktraceError where it is damaged.

        ``tell`` is told now and then how many forks were read.
        """
        for record in self._chosen.of(self._recording.records()):
            if isinstance(record, Fork):
                self._add(record)
                if not self._durations.count % _TELL_EACH:
                    tell(self._chosen.forks)
            elif isinstance(record, Exec):
                _add(self._execs, 1, record.copy_ns, record.page_table_bytes)
                self._processes.of(record.comm).add_exec(record)
            elif isinstance(record, Cow):
                self._cow.add(record)
            elif isinstance(record, Vfork):
                self._vforks.add(record)
            elif isinstance(record, Mappings):
                self._told = (record.pid, record.names)
            elif isinstance(record, Progress):
                self._last = max(self._last, record.time_ns)
                self._lost = record.lost
        return self._result(self._recording.summary)

    def _add(self, fork: Fork) -> None:
        pid, told = self._told
        self._told = (0, {})
        names = self._names.of(fork, told if pid == fork.pid else {})
        place = place_of(fork.duration_ns)
        # The probes are attached a moment before the header is written.
        since = max(0, fork.time_ns - self._began)
        self._last = max(self._last, fork.time_ns)
        number = self._durations.count
        self._durations.add(fork.duration_ns, place)
        self._copies.add(fork.copy_ns, place_of(fork.copy_ns))
        self._failed += fork.outcome == "failed"
        self._failures.add(fork)
        self._callers.add(fork)
        if fork.parts:
            for name, ns in vars(fork.parts).items():
                self._parts[name] += ns
        self._tables += fork.page_table_bytes
        self._pinned += fork.pinned_bytes or 0
        vmas = fork.vmas
        _add(
            self._vmas,
            *(vmas.copy, vmas.skip, vmas.dontcopy, vmas.wipeonfork, vmas.unknown),
        )
        for cost in fork.triggers:
            self._add_trigger(cost)
        self._processes.of(fork.comm).add(fork, place)
        self._cgroups.of(fork.cgroup).add(fork, place)
        self._timeline.add(since, place)
        self._dearest.add(number, fork, names)
        self._points.add(number, since, fork)
        if fork.details is not None:
            self._detailed += 1
            self._add_shares(fork, names)

    def _add_trigger(self, cost: TriggerCost) -> None:
        key = (cost.trigger, cost.anon_vma)
        sums = self._triggers.get(key)
        if sums is None:
            if len(self._triggers) >= _MOST_NAMES:
                key = (OTHER, cost.anon_vma)
            sums = self._triggers.setdefault(key, [0, 0, 0])
        sums[0] += cost.vmas
        sums[1] += cost.copy_ns
        sums[2] += cost.page_table_bytes

    def _add_shares(self, fork: Fork, names: Mapping[int, str]) -> None:
        for vma in fork.details or ():
            if vma.trigger is None:
                continue
            name = names.get(vma.start, NOT_KNOWN) or ANONYMOUS
            key = (fork.comm, vma.trigger, name)
            if key not in self._shares and len(self._shares) >= _MOST_SHARES:
                key = (fork.comm, vma.trigger, OTHER)
            sums = self._shares.setdefault(key, [0, 0])
            _add(sums, vma.run_ns, vma.page_table_bytes)

    def _result(self, summary: Summary | None) -> Study:
        last = summary.time_ns if summary else self._last
        triggers = sorted(
            self._triggers.items(), key=lambda item: (-item[1][1], item[0])
        )
        shares = sorted(self._shares.items(), key=lambda item: (-item[1][0], item[0]))
        lost = summary.lost if summary else self._lost
        return Study(
            header=self._recording.header,
            ended=summary.ended if summary else CUT_OFF,
            span_ns=max(0, last - self._began),
            failed=self._failed,
            durations=self._durations,
            copies=self._copies,
            page_table_bytes=self._tables,
            vmas=VmaCounts(*self._vmas),
            triggers=tuple(TriggerCost(*key, *sums) for key, sums in triggers),
            processes=self._processes.ranked(self._order),
            cgroups=self._cgroups.ranked(self._order),
            costliest=self._dearest.ranked(),
            exec_discards=ExecDiscards(*self._execs),
            lost={stage: count for stage, count in lost.items() if count},
            unwritten=summary.unwritten if summary else 0,
            host=summary.host if summary else None,
            timeline=self._timeline,
            points=self._points.chosen(),
            shares=tuple(Share(*key, *sums) for key, sums in shares),
            detailed=self._detailed,
            parts=self._parts,
            failures=self._failures.ranked(),
            vforks=self._vforks.count,
            longest_vforks=self._vforks.ranked(),
            left_out=self._recording.left_out,
            unkept=self._recording.unkept,
            cow=self._cow.ranked(),
            cow_mappings=self._cow.mappings(),
            callers=(callers := self._callers.ranked()),
            without_stack=self._callers.missing if callers else 0,
            cut_stacks=self._callers.cut,
            pinned_bytes=self._pinned,
            choice=self._choice,
            recorded=self._chosen.forks,
        )


def _add(sums: list[int], *values: int) -> None:
    for position, value in enumerate(values):
        sums[position] += value
