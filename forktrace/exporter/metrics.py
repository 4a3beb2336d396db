"""The published metrics: turns ``Totals`` into Prometheus metric families.

Names and labels are a contract with other people's dashboards. Values are in base
units (seconds, bytes) and come from totals that the kernel added up, so a scrape that
comes late or not at all loses nothing.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from dataclasses import replace
from itertools import product
from threading import Lock
from typing import get_args

from prometheus_client.core import (
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from forktrace import __version__
from forktrace.bits import ANON_VMA
from forktrace.cgroups.units import Unit, UnitNames
from forktrace.exporter.bounded import Bounded, Cost, changed
from forktrace.exporter.cow import cow_families
from forktrace.exporter.families import NS, costs_of, counter, histograms
from forktrace.exporter.units import BoundedUnits, Names
from forktrace.exporter.watched import MOST_PAIRS_BESIDES, Watched
from forktrace.model import (
    OTHER,
    Decision,
    ExecDiscards,
    Histogram,
    KernelInfo,
    Outcome,
    ProcessCost,
    ProgramCost,
    Source,
    Totals,
)
from forktrace.text import encodable

DEFAULT_MAX_COMMS = 50
"""How many process names have series of their own."""

DEFAULT_MAX_UNITS = 25
"""How many units of systemd and containers have."""

MOST_PAIRS = 30
"""How many pairs of a process name and a trigger have series of their own, unless
processes are watched."""

MOST_JOINED = 20
"""How many triggers of several bits have: five bits make 52, and hosts have few."""

MOST_TROUBLED = 10
"""How many process names have series of their forks that failed, and of vforks."""

_PART_BOUNDS_NS = (100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
"""Of the histograms of parts of a fork: five times two dozen series were too many."""

_NO_FAILURES = {"EAGAIN": 0, "ENOMEM": 0}
"""They stand at 0 before the first fork fails so."""

_SOURCES: tuple[Source, ...] = ("return", "branch", "rule")
_RESULTS = ("agree", "disagree")


class ForktraceCollector(Collector):
    """Reads the totals once for each scrape and yields every forktrace metric.

    ``read`` is called by one scrape at a time. ``bits`` are the names of the rule's
    bits: their triggers stand at 0 before the first such VMA is copied, so that the
    first one shows as an increase. ``running`` tells whether the kernel runs the
    probes, ``window_failures`` how often decisions were to be checked and could not be.
    ``names`` tells what a cgroup is part of; ``forget`` is told of cgroups whose totals
    need not be read any more. ``watched`` has the mappings of processes, if any are.
    """

    def __init__(
        self,
        read: Callable[[], Totals],
        info: Callable[[], KernelInfo],
        max_comms: int = DEFAULT_MAX_COMMS,
        bits: Sequence[str] = (),
        running: Callable[[], bool] = lambda: True,
        window_failures: Callable[[], int] = lambda: 0,
        max_units: int = DEFAULT_MAX_UNITS,
        names: Names | None = None,
        forget: Callable[[Set[int]], None] = lambda cgroups: None,
        watched: Watched | None = None,
    ) -> None:
        """Keep what a scrape needs; nothing is read yet."""
        self._read = read
        self._info = info
        self._bits = tuple(bits)
        self._running = running
        self._window_failures = window_failures
        self._processes = Bounded(max_comms, OTHER)
        pairs = MOST_PAIRS_BESIDES if watched else MOST_PAIRS
        self._pairs = Bounded(pairs, (OTHER, OTHER))
        self._joined = Bounded(MOST_JOINED, (OTHER, ""))
        self._failures = Bounded(MOST_TROUBLED, OTHER)
        self._vforks = Bounded(MOST_TROUBLED, OTHER)
        self._units = BoundedUnits(names or UnitNames(), max_units)
        self._forget = forget
        self._watched = watched
        self._before: tuple[ProcessCost, ...] = ()
        # Two scrapes at once must not feed these series out of order.
        self._lock = Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield the families of one scrape, all from one reading of the totals."""
        with self._lock:
            read = self._read()
            totals = replace(
                read, processes=tuple(changed(read.processes, self._before))
            )
            self._before = read.processes
            processes = self._processes.update(_by_comm(totals))
            pairs = self._pairs.update(_by_comm_and_trigger(totals))
            triggers = _single_triggers(totals, self._bits)
            triggers |= self._joined.update(_joined_triggers(totals, triggers))
            failures = self._failures.update(_failed_by_comm(totals))
            vforks = self._vforks.update(_vforks_by_comm(totals))
            units = self._units.update(totals.cgroups)
            self._forget(self._units.forgettable())
            mappings = list(self._watched.families()) if self._watched else []
        yield from _forks(totals)
        yield _run_delay(totals.run_delay_ns)
        if totals.pinned_bytes is not None:
            yield _pinned(totals.pinned_bytes)
        yield from _parts(totals.parts)
        if totals.cow:
            yield from cow_families(totals.cow)
        yield from _failures(totals.failures, failures)
        yield from _triggers(triggers)
        yield from _exec_discards(totals.exec_discards)
        yield from costs_of("process", _BY_COMM, ["comm"], _one_label(processes))
        yield from _process_triggers(pairs)
        yield from mappings
        yield from _vforks(vforks)
        yield from costs_of("unit", _BY_UNIT, Unit._fields, units.items())
        yield from _own_health(totals, self._running())
        yield _window_failures(self._window_failures())
        yield from _programs(totals.programs)
        yield _kernel_info(self._info())
        yield _build_info()


def new_registry(collector: ForktraceCollector) -> CollectorRegistry:
    """Return a registry of forktrace's metrics and the usual ``process_*`` of its own.

    Python's own default metrics are left out: they tell nothing about forks.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


def _forks(totals: Totals) -> Iterator[Metric]:
    yield counter(
        "forktrace_forks",
        "Calls of fork (without CLONE_VM), by whether a child came of it.",
        ["outcome"],
        [([outcome], totals.forks.get(outcome, 0)) for outcome in get_args(Outcome)],
    )
    yield counter(
        "forktrace_forks_started",
        "Calls of fork (without CLONE_VM) that began.",
        [],
        [([], totals.forks_started)],
    )
    yield GaugeMetricFamily(
        "forktrace_forks_in_progress",
        "Calls of fork that have begun and neither made a child nor failed.",
        value=totals.forks_in_progress,
    )
    yield histograms(
        "forktrace_fork_duration_seconds",
        "Duration of fork in seconds, from the entry of kernel_clone until the child "
        "was woken or the fork failed.",
        [],
        [([], totals.fork_duration)],
    )
    yield histograms(
        "forktrace_copy_duration_seconds",
        "Seconds of one fork spent inside copy_page_range, summed over its VMAs.",
        [],
        [([], totals.copy_duration)],
    )
    yield counter(
        "forktrace_vmas",
        "VMAs of forking processes, by what fork did with them: page tables copied, "
        "copy skipped, left out of the child (dontcopy), or wiped (wipeonfork).",
        ["decision"],
        [([each], getattr(totals.vmas, each)) for each in get_args(Decision)],
    )


def _pinned(count: int) -> Metric:
    return counter(
        "forktrace_pinned_bytes",
        "Bytes of pages that forks copied, not only their entries, because the parent "
        "had them pinned (io_uring, RDMA).",
        [],
        [([], count)],
        "bytes",
    )


def _run_delay(nanoseconds: int) -> Metric:
    return counter(
        "forktrace_fork_run_delay_seconds",
        "Seconds within forks for which the task was ready to run and had no CPU, as "
        "when it was preempted.",
        [],
        [([], nanoseconds / NS)],
        "seconds",
    )


def _parts(parts: Mapping[str, Histogram]) -> Iterator[Metric]:
    if not parts:
        return
    yield histograms(
        "forktrace_fork_part_duration_seconds",
        "Seconds of one fork by what they were spent on: setup, the wait for the "
        "parent's mmap_lock, duplicating VMAs (vmas) without copying their page tables "
        "(copy), and finish. The parts of a fork add up to its duration.",
        ["part"],
        [([name], part.coarser(_PART_BOUNDS_NS)) for name, part in parts.items()],
    )


def _failures(
    by_errno: Mapping[str, int], by_comm: Mapping[str, Cost]
) -> Iterator[Metric]:
    yield counter(
        "forktrace_fork_failures",
        "Calls of fork that failed, by the name of the errno.",
        ["errno"],
        [([name], n) for name, n in {**_NO_FAILURES, **by_errno}.items()],
    )
    yield counter(
        "forktrace_process_fork_failures",
        f"Calls of fork that failed, {_BY_COMM}",
        ["comm"],
        [([comm], cost.number) for comm, cost in by_comm.items()],
    )


def _vforks(by_comm: Mapping[str, Cost]) -> Iterator[Metric]:
    yield counter(
        "forktrace_process_vforks",
        f"Calls of vfork and posix_spawn, which copy nothing, {_BY_COMM}",
        ["comm"],
        [([comm], cost.number) for comm, cost in by_comm.items()],
    )
    yield counter(
        "forktrace_process_vfork_held_seconds",
        "Seconds for which vfork and posix_spawn held the calling thread until the "
        f"child called exec or exited, {_BY_COMM}",
        ["comm"],
        [([comm], cost.copy_ns / NS) for comm, cost in by_comm.items()],
        "seconds",
    )


_Trigger = tuple[str, str]
"""The labels of a trigger: its name, and whether there was an anon_vma."""


def _of_trigger(totals: Totals) -> Iterator[tuple[_Trigger, Cost]]:
    for each in totals.triggers:
        cost = Cost(each.vmas, each.copy_ns, each.page_table_bytes)
        yield (each.trigger, str(each.anon_vma).lower()), cost


def _single_triggers(totals: Totals, bits: Sequence[str]) -> dict[_Trigger, Cost]:
    expected = [(ANON_VMA, "true"), *product(bits, ("false", "true"))]
    costs = dict(_of_trigger(totals))
    return {labels: costs.get(labels, Cost()) for labels in expected}


def _joined_triggers(
    totals: Totals, single: Collection[_Trigger]
) -> Iterator[tuple[_Trigger, Cost]]:
    for labels, cost in _of_trigger(totals):
        if labels not in single:
            yield labels, cost


def _triggers(costs: Mapping[_Trigger, Cost]) -> Iterator[Metric]:
    labelled = [
        (labels, cost)
        for labels, cost in costs.items()
        if labels[0] != OTHER or cost.number
    ]
    labels = ["trigger", "anon_vma"]
    why = (
        "by the VM_COPY_ON_FORK bits that forced the copy (trigger) and whether the "
        "VMA had an anon_vma and would have been copied without them; where too many "
        "bits came together, the rest is in trigger=other."
    )
    yield counter(
        "forktrace_copied_vmas",
        f"VMAs whose page tables fork copied, {why}",
        labels,
        [(values, cost.number) for values, cost in labelled],
    )
    yield counter(
        "forktrace_copy_seconds",
        f"Seconds spent copying page tables in fork, {why}",
        labels,
        [(values, cost.copy_ns / NS) for values, cost in labelled],
        "seconds",
    )
    yield counter(
        "forktrace_page_table_bytes",
        f"Bytes of page tables newly allocated for children, {why}",
        labels,
        [(values, cost.page_table_bytes) for values, cost in labelled],
        "bytes",
    )


def _exec_discards(discards: ExecDiscards) -> Iterator[Metric]:
    yield counter(
        "forktrace_exec_discards",
        "Children that called exec and so threw away the page tables fork had copied.",
        [],
        [([], discards.discards)],
    )
    yield counter(
        "forktrace_exec_discarded_copy_seconds",
        "Seconds spent copying page tables that exec then threw away.",
        [],
        [([], discards.copy_ns / NS)],
        "seconds",
    )
    yield counter(
        "forktrace_exec_discarded_page_table_bytes",
        "Bytes of copied page tables that exec then threw away.",
        [],
        [([], discards.page_table_bytes)],
        "bytes",
    )


def _by_comm(totals: Totals) -> Iterator[tuple[str, Cost]]:
    for each in totals.processes:
        if each.forks:
            cost = Cost(each.forks, each.copy_ns, each.page_table_bytes)
            yield encodable(each.comm), cost


def _failed_by_comm(totals: Totals) -> Iterator[tuple[str, Cost]]:
    for each in totals.processes:
        if each.failed:
            yield encodable(each.comm), Cost(each.failed)


def _vforks_by_comm(totals: Totals) -> Iterator[tuple[str, Cost]]:
    for each in totals.processes:
        if each.vforks.calls:
            yield encodable(each.comm), Cost(each.vforks.calls, each.vforks.held_ns)


def _by_comm_and_trigger(totals: Totals) -> Iterator[tuple[tuple[str, str], Cost]]:
    for each in totals.processes:
        comm = encodable(each.comm)
        for part in each.triggers:
            cost = Cost(part.vmas, part.copy_ns, part.page_table_bytes)
            yield (comm, OTHER if comm == OTHER else part.trigger), cost


_BY_COMM = (
    "by name (comm) of the parent; the heaviest names have their own series, the rest "
    "is in comm=other."
)
_BY_UNIT = (
    "by what the parent's cgroup is part of: a unit of systemd, or a container and in "
    "Kubernetes its pod; the heaviest have their own series, the rest is in unit=other."
)


def _one_label(costs: Mapping[str, Cost]) -> Iterator[tuple[Sequence[str], Cost]]:
    for name, cost in costs.items():
        yield (name,), cost


def _process_triggers(costs: Mapping[tuple[str, str], Cost]) -> Iterator[Metric]:
    whose = (
        "by name (comm) of the parent and by trigger; the heaviest pairs have their "
        "own series, the rest is in comm=other, trigger=other."
    )
    yield counter(
        "forktrace_process_trigger_copied_vmas",
        f"VMAs whose page tables fork copied, {whose}",
        ["comm", "trigger"],
        [(pair, cost.number) for pair, cost in costs.items()],
    )
    yield counter(
        "forktrace_process_trigger_copy_seconds",
        f"Seconds spent copying page tables in fork, {whose}",
        ["comm", "trigger"],
        [(pair, cost.copy_ns / NS) for pair, cost in costs.items()],
        "seconds",
    )


def _own_health(totals: Totals, running: bool) -> Iterator[Metric]:
    yield counter(
        "forktrace_decision_checks",
        "Decisions of the kernel held against the rule as evaluated by forktrace, by "
        "how the kernel's decision was seen (source) and whether the two agree.",
        ["source", "result"],
        [
            (key, totals.decision_checks.get(key, 0))
            for key in product(_SOURCES, _RESULTS)
        ],
    )
    yield counter(
        "forktrace_lost",
        "Things that forktrace could not record, by the stage where they were lost.",
        ["stage"],
        [([stage], count) for stage, count in sorted(totals.lost.items())],
    )
    yield GaugeMetricFamily(
        "forktrace_probes_running",
        "1 while the kernel runs forktrace's probes, 0 once it starts tasks unseen: "
        "somebody has switched probes off.",
        running,
    )


def _window_failures(count: int) -> Metric:
    return counter(
        "forktrace_decision_window_failures",
        "Times at which the kernel's decisions were to be checked and could not be.",
        [],
        [([], count)],
    )


def _programs(programs: Sequence[ProgramCost]) -> Iterator[Metric]:
    yield counter(
        "forktrace_probe_seconds",
        "Seconds that forktrace's own BPF programs ran, from the kernel's statistics.",
        ["program"],
        [([cost.program], cost.run_ns / NS) for cost in programs],
        "seconds",
    )
    yield counter(
        "forktrace_probe_runs",
        "Runs of forktrace's own BPF programs, from the kernel's statistics.",
        ["program"],
        [([cost.program], cost.runs) for cost in programs],
    )


def _kernel_info(info: KernelInfo) -> Metric:
    return InfoMetricFamily(
        "forktrace_kernel",
        "The kernel traced, how it is probed, the mask of VM_COPY_ON_FORK bits its "
        "fork tests, and where that rule was read from.",
        {
            "release": info.release,
            "attach": info.attach,
            "mask": f"{info.mask:#x}",
            "read_from": info.read_from,
            **({"node": encodable(info.node)} if info.node else {}),
        },
    )


def _build_info() -> Metric:
    return InfoMetricFamily(
        "forktrace_build", "The version of forktrace.", {"version": __version__}
    )
