"""What a fork of a process would copy of which only a pasted smaps is at hand.

Nothing of this host is asked: the smaps is of another machine, mostly.
"""

from __future__ import annotations

from forktrace.explain import estimate, machines, paste
from forktrace.explain.advice import advise
from forktrace.explain.guards import Guards
from forktrace.explain.measured import Measured
from forktrace.explain.pagemap import Seen
from forktrace.explain.paste import Paste
from forktrace.explain.predict import forecast
from forktrace.explain.process import GATES, Process
from forktrace.explain.report import Answer, Subject
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import NEWEST, rule_of_release


def answer(source: str, release: str | None, measured: Measured | None) -> Answer:
    """Return the answer about the text in a file, or on standard input for ``-``.

    ``release`` is whose rule is asked about, None for the newest. Raises
    ForktraceError.
    """
    return explain(paste.read(source), release, measured)


def explain(pasted: Paste, release: str | None, measured: Measured | None) -> Answer:
    """Return the answer about what was read."""
    rule, names = rule_of_release(release or NEWEST), FlagNames.of(NEWEST, {})
    made = forecast(process(pasted), rule, names, release or NEWEST)
    subject = Subject(None, release, rule, names, measured)
    return Answer(subject, made, advise(made), refusals=None, paste=pasted)


def process(pasted: Paste) -> Process:
    """Return the process as far as its smaps tells."""
    vmas = tuple(vma for vma in pasted.vmas if vma.name not in GATES)
    first, *rest = (
        lay(vmas, geometry)
        for geometry in machines.geometries(vmas)
        for lay in (estimate.crowd, estimate.spread)
    )
    return Process(
        pid=None,
        comm=None,
        page_table_bytes=None,
        vmas=vmas,
        guards=tuple(Guards(None, "gu" in vma.vm_flags) for vma in vmas),
        seen=Seen(first, None, sum(vma.size for vma in vmas), tuple(rest)),
        fork_event=None,
    )
