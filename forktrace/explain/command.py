"""``forktrace explain``: what a fork would copy, why, at what cost, and what to do."""

from __future__ import annotations

import json
import re
import shutil

from forktrace.errors import ForktraceError, UsageError
from forktrace.explain import measured as measurements
from forktrace.explain import pasted
from forktrace.explain.advice import advise
from forktrace.explain.predict import forecast
from forktrace.explain.process import Process
from forktrace.explain.processes import Candidate, rank, usual_price
from forktrace.explain.refusals import refusals
from forktrace.explain.report import Answer, Ranked, Subject
from forktrace.kernel.btf import Btf
from forktrace.kernel.flags import FlagNames, version_of
from forktrace.kernel.rule import Rule, rule_of_release
from forktrace.kernel.running import RunningKernel
from forktrace.views import explain as view
from forktrace.views.colour import print_lines

SHOWN = 20
"""How many processes ``--all`` ranks unless told otherwise."""

_OLDEST = (5, 4, 0)
# As in uname -r: "7.3", "6.18.36", "6.19-rc3", "6.1.0-30-amd64".
_RELEASE = re.compile(r"\d{1,3}\.\d{1,4}(\.\d{1,5})?([-+~.][\w.+~-]*)?", re.ASCII)


def report(
    pid: int | None = None,
    *,
    all_processes: bool = False,
    rule: str | None = None,
    measured: str | None = None,
    smaps: str | None = None,
    as_json: bool = False,
    limit: int = SHOWN,
) -> int:
    """Print the answer and return the exit status.

    ``rule`` is a release whose rule is asked about; ``measured`` a URL or a file of
    what forktrace measured (None: ask the forktrace of this host, quietly). ``smaps``
    is a file to read instead of /proc, and ``limit`` bounds ``all_processes``. Raises
    ForktraceError.
    """
    if (pid is not None) + all_processes + (smaps is not None) != 1:
        raise UsageError(
            "Name one process, or give --all, or --smaps FILE: one of them.",
            "For example: forktrace explain 1",
        )
    if smaps is not None:
        return _pasted(smaps, rule, measured, as_json=as_json)
    asked = _rule_of(rule) if rule is not None else None
    own, names, kernel = _running()
    subject = Subject(kernel, rule, asked or own, names, measurements.read(measured))

    def look(process: Process) -> Candidate:
        mine = forecast(process, own, names)
        if asked is None:
            return Candidate(mine)
        return Candidate(forecast(process, asked, names, rule), mine)

    if pid is None:
        measure = subject.measured
        price = measure.estimate_ns if measure else usual_price
        ranked = Ranked(subject, rank(look, limit, price=price))
        _print(ranked.to_json() if as_json else view.ranking_lines(ranked))
        return 0
    found = look(Process.read(pid))
    answer = Answer(
        subject,
        found.forecast,
        advise(found.forecast),
        found.here,
        refusals(pid, found.forecast.process.vmas),
    )
    _print(answer.to_json() if as_json else view.lines(answer, _width()))
    return 0


def _pasted(
    smaps: str, rule: str | None, measured: str | None, *, as_json: bool
) -> int:
    """Answer about a file. What was measured here says nothing of another host."""
    if rule is not None:
        _rule_of(rule)
    known = measurements.read(measured) if measured is not None else None
    answer = pasted.answer(smaps, rule, known)
    _print(answer.to_json() if as_json else view.lines(answer, _width()))
    return 0


def _print(what: dict[str, object] | list[str]) -> None:
    if isinstance(what, list):
        print_lines(what)
    else:
        print(json.dumps(what, indent=2))


def _width() -> int:
    return max(80, min(100, shutil.get_terminal_size((80, 24)).columns)) - 1


def _rule_of(release: str) -> Rule:
    if not _RELEASE.fullmatch(release) or version_of(release) < _OLDEST:
        raise UsageError(
            f"--rule {release!r} is no release of Linux from 5.4 on.",
            "Write it as uname -r does, for example 6.18 or 7.3.",
        )
    return rule_of_release(release)


def _running() -> tuple[Rule, FlagNames, str]:
    """Return the running kernel's rule, its names of the bits, and its release.

    Nothing that tracing needs is asked for: without BTF or kallsyms a table must do.
    """
    try:
        with Btf.of_running_kernel() as btf:
            kernel = RunningKernel.read(btf)
    except ForktraceError:
        kernel = RunningKernel.read(None)
    return kernel.rule, kernel.names, kernel.release
