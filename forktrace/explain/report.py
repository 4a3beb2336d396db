"""The whole answer about one process, or about all, and its published JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from forktrace.explain.advice import Advice
from forktrace.explain.machines import base_page
from forktrace.explain.measured import Measured
from forktrace.explain.pagetables import PAGE
from forktrace.explain.paste import Paste
from forktrace.explain.predict import Fate, Forecast
from forktrace.explain.processes import Candidate, Ranking
from forktrace.explain.refusals import Refusal
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import NEWEST, Rule
from forktrace.model import SCHEMA, TriggerCost


@dataclass(frozen=True)
class Subject:
    """Which rule was asked about.

    ``kernel`` is the running release, None of a pasted smaps; ``asked`` the release
    whose rule answers, None for the running kernel's own, or else for the newest;
    ``rule`` is the one that answers.
    """

    kernel: str | None
    asked: str | None
    rule: Rule
    names: FlagNames
    measured: Measured | None = None

    @property
    def release(self) -> str:
        """The release whose rule answers."""
        return self.asked or self.kernel or NEWEST

    @property
    def newest(self) -> bool:
        """Whether the newest rule answers for want of any other."""
        return not (self.asked or self.kernel)

    def words(self) -> str:
        """Say the rule, and where it was read."""
        return f"{self.rule.words(self.names)}; read from {self.rule.read_from}"

    def time_ns(self, forecast: Forecast) -> int | None:
        """Return an estimate of the nanoseconds inside copy_page_range(), or None."""
        if self.measured is None:
            return None
        return self.measured.estimate_ns(
            forecast.counts.copy, forecast.page_table_bytes
        )

    def to_json(self) -> dict[str, Any]:
        """Return what every answer begins with."""
        return {
            "schema": SCHEMA,
            "kernel": self.kernel,
            "rule": {"release": self.release, **self.rule.to_json(self.names)},
            "measured": self.measured.source if self.measured else None,
        }


@dataclass(frozen=True)
class Change:
    """One VMA that another kernel would treat otherwise."""

    here: Fate
    there: Fate

    def to_json(self) -> dict[str, Any]:
        """Return one entry of ``changes``."""
        return {
            "start": f"{self.here.vma.start:#x}",
            "end": f"{self.here.vma.end:#x}",
            "name": self.here.vma.name,
            "here": _decided(self.here),
            "there": _decided(self.there),
        }


@dataclass(frozen=True)
class Answer:
    """What a fork of one process would do.

    ``here`` is the forecast by the running kernel's rule where another was asked about;
    ``refusals`` are why the fork would fail now, None where nobody can tell: ``paste``
    is then what was read instead of /proc.
    """

    subject: Subject
    forecast: Forecast
    advice: tuple[Advice, ...]
    here: Forecast | None = None
    refusals: tuple[Refusal, ...] | None = ()
    paste: Paste | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """The VMAs whose decision or trigger differs between the two rules."""
        return tuple(changes(self.here, self.forecast)) if self.here else ()

    def to_json(self) -> dict[str, Any]:
        """Return the published object of ``explain PID --json``."""
        process = self.forecast.process
        known = self.paste is None
        body: dict[str, Any] = {
            **self.subject.to_json(),
            "pid": process.pid,
            "comm": process.comm,
            **_sums(self.subject, self.forecast),
            "own_page_table_bytes": process.page_table_bytes,
            "hidden_page_table_bytes": self.forecast.hidden_bytes if known else None,
            "hidden_copied_bytes": self.forecast.hidden_copied if known else None,
            "guessed_bytes": process.seen.guessed,
            "pinned_elsewhere_bytes": self.forecast.pinned_elsewhere if known else None,
            "fork_event": process.fork_event,
            "triggers": [_trigger(cost) for cost in self.forecast.triggers],
            "refusals": None
            if self.refusals is None
            else [refusal.to_json() for refusal in self.refusals],
            "advice": [advice.to_json() for advice in self.advice],
            "details": [_detail(fate) for fate in self.forecast.fates],
        }
        if self.paste:
            page = base_page(self.paste.vmas)
            body["paste"] = {**self.paste.to_json(), "page_bytes": page}
            body["pinned_bytes"] = None
            for detail in body["details"]:
                detail["pinned_bytes"] = None
        if self.here:
            body["compared"] = {
                **_sums(self.subject, self.here),
                "changes": [change.to_json() for change in self.changes],
            }
        return body


@dataclass(frozen=True)
class Ranked:
    """What forks of the host's processes would do."""

    subject: Subject
    ranking: Ranking

    def to_json(self) -> dict[str, Any]:
        """Return the published object of ``explain --all --json``."""
        return {
            **self.subject.to_json(),
            "processes": [self._process(each) for each in self.ranking.dearest],
            "not_permitted": len(self.ranking.closed),
            "not_permitted_at_most": [
                {
                    "pid": status.pid,
                    "comm": status.comm,
                    "own_page_table_bytes": status.page_table_bytes,
                }
                for status in self.ranking.closed
            ],
            "not_looked_at": self.ranking.unseen,
            "not_looked_at_at_most_bytes": self.ranking.at_most,
        }

    def _process(self, candidate: Candidate) -> dict[str, Any]:
        process = candidate.forecast.process
        body = {
            "pid": process.pid,
            "comm": process.comm,
            **_sums(self.subject, candidate.forecast),
            "triggers": [_trigger(cost) for cost in candidate.forecast.triggers],
        }
        if candidate.here:
            body["compared"] = _sums(self.subject, candidate.here)
        return body


def changes(here: Forecast, there: Forecast) -> Iterator[Change]:
    """Yield the VMAs that two rules treat otherwise, in address order."""
    for before, after in zip(here.fates, there.fates):
        if (before.decision, before.trigger) != (after.decision, after.trigger):
            yield Change(before, after)


def _sums(subject: Subject, forecast: Forecast) -> dict[str, Any]:
    doubtful = forecast.doubtful
    return {
        "vmas": forecast.counts.to_json(),
        "page_table_bytes": forecast.page_table_bytes,
        "least_page_table_bytes": forecast.least_bytes,
        "most_page_table_bytes": forecast.most_bytes,
        "pinned_bytes": forecast.pinned_bytes,
        "copy_ns": subject.time_ns(forecast),
        "doubtful": {
            "vmas": len(doubtful),
            "page_table_bytes": forecast.added(doubtful),
        },
    }


def _trigger(cost: TriggerCost) -> dict[str, Any]:
    published = cost.to_json()
    del published["copy_ns"]
    return published


def _decided(fate: Fate) -> dict[str, Any]:
    return {
        "decision": fate.decision,
        "trigger": fate.trigger,
        "anon_vma": fate.anon_vma,
        "doubt": fate.doubt or None,
        "page_table_bytes": fate.page_table_bytes,
    }


def _detail(fate: Fate) -> dict[str, Any]:
    return {
        "start": f"{fate.vma.start:#x}",
        "end": f"{fate.vma.end:#x}",
        "name": fate.vma.name,
        "flags": sorted(fate.vma.flag_names),
        "rss_bytes": fate.vma.rss,
        **_decided(fate),
        "pinned_bytes": fate.pinned_bytes,
        "guard_bytes": None if fate.guard_pages is None else fate.guard_pages * PAGE,
    }
