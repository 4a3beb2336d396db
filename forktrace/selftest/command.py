"""``forktrace selftest``: trace a process of our own that has every kind of VMA."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from forktrace.errors import EXIT_FAILED, ForktraceError
from forktrace.model import Fork
from forktrace.selftest.judge import Report, expect, judge, overall
from forktrace.selftest.subject import ENDING_SIGNALS, Forked, Subject
from forktrace.tracer.backend import AttachMode
from forktrace.tracer.session import DecisionMode, Session, Wanted
from forktrace.tracing import announce
from forktrace.views.colour import print_lines
from forktrace.views.selftest import lines

FORKS = 3
_QUIET_MS = 10_000


def report(attach: AttachMode, decision: DecisionMode, *, as_json: bool) -> int:
    """Run the selftest, print what came out, and return the exit status."""
    with _interruptible():
        found = examine(attach, decision)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print_lines(lines(found))
    return 0 if found.passed else EXIT_FAILED


def examine(attach: AttachMode, decision: DecisionMode) -> Report:
    """Make the VMAs, fork, and compare. Raises ForktraceError if it cannot be done."""
    forks: list[Fork] = []
    with Subject() as subject:
        wanted = Wanted(events=True, details=True, pids=[subject.ready.pid])
        with Session(attach, decision, wanted, forks.append) as session:
            announce(session)
            forked = subject.fork(FORKS)
            # The process stays as it is meanwhile: what no probe meets (DONTCOPY,
            # WIPEONFORK) is read from its smaps.
            _collect(session, forks)
            session.detach()
            return _compare(session, subject, forked, forks)


def _collect(session: Session, forks: list[Fork]) -> None:
    # The forks are over, so their records lie there, however slow this host is.
    while len(forks) < FORKS and session.poll(_QUIET_MS):
        pass


def _compare(
    session: Session, subject: Subject, forked: Forked, forks: list[Fork]
) -> Report:
    rule, names = session.kernel.rule, session.kernel.names
    totals = session.totals()
    witness = session.witness.source if session.witness else None
    details = [{vma.start: vma for vma in fork.details or ()} for fork in forks]
    findings = tuple(
        judge(
            mapping,
            expect(mapping, rule, names),
            [vmas.get(mapping.start) for vmas in details],
            pages,
            witness,
            frozenset(session.bit_names),
        )
        for mapping, pages in zip(subject.ready.mappings, forked.pages)
    )
    checks = totals.decision_checks
    return Report(
        kernel=session.kernel.release,
        attach=session.attached,
        words=session.kernel.words(),
        witness=witness,
        forks=len(forks),
        findings=findings,
        skipped=subject.ready.skipped,
        witnessed=sum(checks.values()),
        disagreements=sum(
            count for (_, result), count in checks.items() if result == "disagree"
        ),
        lost=sum(totals.lost.values()),
        problems=overall(
            forks,
            forked.children,
            forked.page_table_bytes,
            totals,
            session.disagreement(),
        ),
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn a signal into an error, so that everything is taken down in order."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in ENDING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        name = signal.Signals(number).name
        raise ForktraceError(f"Interrupted by {name}; nothing is left behind.")

    before = {number: signal.signal(number, interrupt) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
