"""Compare what was recorded of each VMA with the rule and with the page tables.

Plain data in, plain data out: nothing here asks a kernel. ``Report.to_json`` is the
published object of ``selftest --json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forktrace import bits
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.fork import Fate, fate
from forktrace.kernel.rule import Rule
from forktrace.kinds import Mapping, Skipped
from forktrace.model import SCHEMA, Fork, Source, Totals, Vma
from forktrace.selftest.pages import Pages

# Where an event of our own may have been lost; other stages count for the whole host.
_OUR_STAGES = ("fork_event", "vma_event", "exec_event", "vfork_event")
# Bits that make a difference at fork on some kernel; the rule's own come on top.
_TELLING = frozenset(bit.name for bit in bits.ALL)


@dataclass(frozen=True)
class Finding:
    """One VMA: what was recorded, what had to be, and what is wrong about it.

    ``flags`` are the parent's bits that matter at fork and ``lost_flags`` those of them
    that the child's VMA did not have when the kernel decided. ``recorded`` is the last
    fork's record, None when there is none. ``problems`` is empty if all is well.
    """

    mapping: Mapping
    flags: tuple[str, ...]
    lost_flags: tuple[str, ...]
    expected: Fate
    recorded: Vma | None
    pages: Pages
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether record, rule and page tables say the same."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return one entry of ``kinds``; ``page_tables`` null: they cannot tell."""
        seen = self.recorded
        pages = {"parent": self.pages.parent, "child": self.pages.child}
        return {
            "kind": self.mapping.kind.name,
            "flags": list(self.flags),
            "decision": seen.decision if seen else None,
            "trigger": seen.trigger if seen else None,
            "anon_vma": seen.anon_vma if seen else None,
            "source": seen.source if seen else None,
            "expected": {
                "decision": self.expected.decision,
                "trigger": self.expected.trigger,
            },
            "page_tables": pages if self.pages.parent else None,
            "verdict": "ok" if self.ok else "fail",
            "reason": "; ".join(self.problems) or None,
        }


@dataclass(frozen=True)
class Report:
    """The whole selftest.

    ``words`` is the rule in words. ``witness`` is None where only the rule decided.
    ``witnessed`` counts VMAs of every fork on the host while the probes were there.
    ``lost`` counts on the whole host too. ``problems`` are those of no single VMA.
    """

    kernel: str
    attach: str
    words: str
    witness: Source | None
    forks: int
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    witnessed: int
    disagreements: int
    lost: int
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain about, and something was tested."""
        return (
            bool(self.findings)
            and all(finding.ok for finding in self.findings)
            and not self.problems
        )

    def to_json(self) -> dict[str, Any]:
        """Return the published object, schema 1."""
        skipped = [
            {"kind": each.kind.name, "verdict": "skipped", "reason": each.reason}
            for each in self.skipped
        ]
        return {
            "schema": SCHEMA,
            "kernel": self.kernel,
            "attach": self.attach,
            "rule": self.words,
            "source": self.witness or "rule",
            "passed": self.passed,
            "forks": self.forks,
            "kinds": [*(finding.to_json() for finding in self.findings), *skipped],
            "witnessed": self.witnessed,
            "disagreements": self.disagreements,
            "lost": self.lost,
            "problems": list(self.problems),
        }


def expect(mapping: Mapping, rule: Rule, names: FlagNames) -> Fate:
    """Apply the kernel's rule to the flags that smaps tells."""
    anon_vma = bool(mapping.anon_vma)
    return fate(rule, names, mapping.src, mapping.dst, anon_vma=anon_vma)


def judge(
    mapping: Mapping,
    expected: Fate,
    records: Sequence[Vma | None],
    pages: Pages,
    witness: Source | None,
    telling: frozenset[str] = frozenset(),
) -> Finding:
    """Compare the records of one VMA, one a fork, None where a fork has none.

    ``pages`` belongs to the last fork. ``telling`` are names of bits to be shown.
    """
    flags = tuple(sorted(mapping.src & (_TELLING | telling)))
    return Finding(
        mapping=mapping,
        flags=flags,
        lost_flags=tuple(
            name for name in flags if mapping.dst and name not in mapping.dst
        ),
        expected=expected,
        recorded=records[-1] if records else None,
        pages=pages,
        problems=(
            *_against_rule(expected, records),
            *_against_tables(expected, pages),
            *_against_witness(records, witness),
        ),
    )


def _against_rule(expected: Fate, records: Sequence[Vma | None]) -> list[str]:
    present = [vma for vma in records if vma]
    problems = []
    if len(present) < len(records) or not records:
        problems.append(f"recorded in only {len(present)} of {len(records)} forks")
    wrong = {
        seen: None  # a dict keeps the order, once each
        for vma in present
        if (seen := Fate(vma.decision, vma.trigger)) != expected
    }
    if wrong:
        seen_words = ", ".join(map(str, wrong))
        problems.append(f"recorded {seen_words}; the flags in smaps say {expected}")
    return problems


def _against_tables(expected: Fate, pages: Pages) -> list[str]:
    if pages.copied in (None, expected.decision == "copy"):
        return []
    return [
        f"the child's page tables have {pages.child} of {pages.parent} pages; "
        f"the flags in smaps say {expected}"
    ]


def _against_witness(
    records: Sequence[Vma | None], witness: Source | None
) -> list[str]:
    unseen = [
        vma
        for vma in records
        if vma and vma.decision in ("copy", "skip") and vma.source != witness
    ]
    if witness is None or not unseen:
        return []
    return [f"decided by {unseen[0].source} in a fork that {witness} watched"]


def overall(
    forks: Sequence[Fork],
    children: Sequence[int],
    page_table_bytes: int,
    totals: Totals,
    disagreement: str | None,
) -> tuple[str, ...]:
    """Return the problems that no single VMA has.

    ``forks`` are the records, ``children`` the pids that fork() returned, and
    ``page_table_bytes`` is VmPTE of the last child: at least what fork allocated.
    """
    problems = []
    if len(forks) != len(children) or any(fork.outcome != "ok" for fork in forks):
        problems.append(
            f"{len(forks)} of {len(children)} forks were recorded. In a container? "
            "Then share the host's PID namespace."
        )
    elif forks and forks[-1].page_table_bytes > page_table_bytes:
        problems.append(
            f"{forks[-1].page_table_bytes} bytes of page tables were recorded for a "
            f"child whose VmPTE is {page_table_bytes}."
        )
    if disagreement:
        problems.append(disagreement)
    problems += [
        f"{count} lost at {stage}."
        for stage in _OUR_STAGES
        if (count := totals.lost.get(stage, 0))
    ]
    return tuple(problems)
