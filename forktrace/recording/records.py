"""The lines of a recording that are no forks: header, mappings, progress, summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forktrace.fields import number_of, numbers_of, rfc3339, text_of, texts_of, time_of
from forktrace.model import (
    SCHEMA,
    ExecDiscards,
    ProgramCost,
    Totals,
    TriggerCost,
    Vforks,
    VmaCounts,
)

FORMAT = "forktrace recording"
VERSION = 2
"""Grows when an older forktrace could no longer make sense of a recording."""


@dataclass(frozen=True)
class RuleWords:
    """The kernel's rule as ``doctor --json`` has it, and in words."""

    mask: str
    bits: Mapping[str, str]
    read_from: str
    words: str

    def to_json(self) -> dict[str, Any]:
        """Return the ``rule`` object."""
        return {
            "mask": self.mask,
            "bits": dict(self.bits),
            "read_from": self.read_from,
            "words": self.words,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RuleWords:
        """Return what ``to_json`` made this of."""
        return cls(
            mask=text_of(record, "mask"),
            bits={str(bit): str(side) for bit, side in record["bits"].items()},
            read_from=text_of(record, "read_from"),
            words=text_of(record, "words"),
        )


@dataclass(frozen=True)
class Filters:
    """Which forks were recorded; what is empty or 0 leaves the choice open.

    With a ``command`` they are its own and its descendants'.
    """

    pids: tuple[int, ...] = ()
    comms: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    min_duration_ns: int = 0
    command: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether some forks were left out."""
        return self != Filters()

    def to_json(self) -> dict[str, Any]:
        """Return the ``filters`` object."""
        return {
            "pids": list(self.pids),
            "comms": list(self.comms),
            "cgroups": list(self.cgroups),
            "min_duration_ns": self.min_duration_ns,
            "command": list(self.command),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Filters:
        """Return what ``to_json`` made this of."""
        if "pid" in record:  # format version 1 had one of each, or none
            record = {
                **record,
                "pids": [record["pid"]] if record["pid"] else [],
                "comms": [] if record["comm"] is None else [record["comm"]],
                "cgroups": [] if record["cgroup"] is None else [record["cgroup"]],
            }
        return cls(
            pids=numbers_of(record, "pids"),
            comms=texts_of(record, "comms"),
            cgroups=texts_of(record, "cgroups"),
            min_duration_ns=number_of(record, "min_duration_ns"),
            command=texts_of(record, "command") if "command" in record else (),
        )


@dataclass(frozen=True)
class Header:
    """Where, when and how was recorded; ``vmas`` tells whether VMAs were asked for."""

    time_ns: int
    forktrace: str
    host: str
    release: str
    arch: str
    rule: RuleWords
    attach: str
    decision: str
    vmas: bool
    filters: Filters = Filters()

    def to_json(self) -> dict[str, Any]:
        """Return the first line."""
        return {
            "type": "header",
            "format": FORMAT,
            "version": VERSION,
            "schema": SCHEMA,
            "forktrace": self.forktrace,
            "time": rfc3339(self.time_ns),
            "host": self.host,
            "kernel": self.release,
            "arch": self.arch,
            "rule": self.rule.to_json(),
            "attach": self.attach,
            "decision": self.decision,
            "vmas": self.vmas,
            "filters": self.filters.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Header:
        """Return what ``to_json`` made this of."""
        return cls(
            time_ns=time_of(record),
            forktrace=text_of(record, "forktrace"),
            host=text_of(record, "host"),
            release=text_of(record, "kernel"),
            arch=text_of(record, "arch"),
            rule=RuleWords.from_json(record["rule"]),
            attach=text_of(record, "attach"),
            decision=text_of(record, "decision"),
            vmas=bool(record["vmas"]),
            filters=Filters.from_json(record["filters"]),
        )


@dataclass(frozen=True)
class Mappings:
    """Names of a parent's mappings by their first address, for the fork that follows.

    /proc told them just after that fork; anonymous memory has no name.
    """

    pid: int
    names: Mapping[int, str]

    def to_json(self) -> dict[str, Any]:
        """Return a line."""
        return {
            "type": "mappings",
            "pid": self.pid,
            "names": {f"{start:#x}": name for start, name in self.names.items()},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Mappings:
        """Return what ``to_json`` made this of."""
        names = record["names"]
        if not all(type(name) is str for name in names.values()):
            raise ValueError("a name is no text")
        return cls(
            pid=number_of(record, "pid"),
            names={int(start, 16): name for start, name in names.items()},
        )


@dataclass(frozen=True)
class Progress:
    """How far a recording had come, and all that the kernel had lost by then."""

    time_ns: int
    lost: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return a line."""
        return {
            "type": "progress",
            "time": rfc3339(self.time_ns),
            "lost": _losses(self.lost),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Progress:
        """Return what ``to_json`` made this of."""
        return cls(time_of(record), _counts(record["lost"]))


@dataclass(frozen=True)
class HostTotals:
    """What all forks of the host did meanwhile, added up in the kernel: no filter."""

    forks: int
    failed: int
    duration_ns: int
    copy_ns: int
    vmas: VmaCounts
    triggers: tuple[TriggerCost, ...]
    exec_discards: ExecDiscards
    checks: Mapping[str, int]
    programs: tuple[ProgramCost, ...] = ()
    vforks: Vforks = field(default_factory=Vforks)

    @classmethod
    def of(cls, totals: Totals) -> HostTotals:
        """Take what a recording keeps of the kernel's totals."""
        checks: dict[str, int] = {"agree": 0, "disagree": 0}
        for (_, result), count in totals.decision_checks.items():
            checks[result] += count
        return cls(
            forks=sum(totals.forks.values()),
            failed=totals.forks["failed"],
            duration_ns=totals.fork_duration.sum_ns,
            copy_ns=totals.copy_duration.sum_ns,
            vmas=totals.vmas,
            triggers=tuple(cost for cost in totals.triggers if cost.vmas),
            exec_discards=totals.exec_discards,
            checks=checks,
            programs=totals.programs,
            vforks=totals.vforks,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the ``host_totals`` object."""
        return {
            "forks": self.forks,
            "failed": self.failed,
            "duration_ns": self.duration_ns,
            "copy_ns": self.copy_ns,
            "vmas": self.vmas.to_json(),
            "triggers": [cost.to_json() for cost in self.triggers],
            "exec_discards": self.exec_discards.to_json(),
            "decision_checks": dict(self.checks),
            "programs": [
                {"program": each.program, "run_ns": each.run_ns, "runs": each.runs}
                for each in self.programs
            ],
            **self.vforks.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> HostTotals:
        """Return what ``to_json`` made this of."""
        return cls(
            forks=number_of(record, "forks"),
            failed=number_of(record, "failed"),
            duration_ns=number_of(record, "duration_ns"),
            copy_ns=number_of(record, "copy_ns"),
            vmas=VmaCounts.from_json(record["vmas"]),
            triggers=tuple(map(TriggerCost.from_json, record["triggers"])),
            exec_discards=ExecDiscards.from_json(record["exec_discards"]),
            checks=_counts(record["decision_checks"]),
            programs=tuple(map(_program, record["programs"])),
            vforks=Vforks.from_json(record),
        )


@dataclass(frozen=True)
class Summary:
    """The last line of a recording that ended well.

    ``ended`` says by what: ``stopped``, ``command``, ``duration``, ``count``,
    ``max_size`` or ``disk``. ``forks`` and ``execs`` are in the file; ``unwritten``
    forks no longer went into it.
    """

    time_ns: int
    ended: str
    forks: int
    execs: int
    unwritten: int
    lost: Mapping[str, int]
    host: HostTotals

    def to_json(self) -> dict[str, Any]:
        """Return the last line."""
        return {
            "type": "summary",
            "time": rfc3339(self.time_ns),
            "ended": self.ended,
            "forks": self.forks,
            "execs": self.execs,
            "unwritten": self.unwritten,
            "lost": _losses(self.lost),
            "host_totals": self.host.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Summary:
        """Return what ``to_json`` made this of."""
        return cls(
            time_ns=time_of(record),
            ended=text_of(record, "ended"),
            forks=number_of(record, "forks"),
            execs=number_of(record, "execs"),
            unwritten=number_of(record, "unwritten"),
            lost=_counts(record["lost"]),
            host=HostTotals.from_json(record["host_totals"]),
        )


def _losses(lost: Mapping[str, int]) -> dict[str, int]:
    return {stage: count for stage, count in lost.items() if count}


def _counts(record: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): number_of(record, name) for name in record}


def _program(record: Mapping[str, Any]) -> ProgramCost:
    return ProgramCost(
        text_of(record, "program"),
        number_of(record, "run_ns"),
        number_of(record, "runs"),
    )
