"""One thing to do about what forks copied, as ``explain`` would say it of a process."""

from __future__ import annotations

from forktrace.explain.words import NO_EVENT_FORK, UNGUARD
from forktrace.report.names import ANONYMOUS, NOT_KNOWN, OTHER
from forktrace.report.study import Study
from forktrace.text import named, printable

_WORTH = 0.2
"""A share of the time of forks, spent copying, from which it is worth a word."""
_MUCH = 0.2
"""A share of what one trigger made fork copy, from which a process is named."""
_MOST = 0.5
"""A share of what was copied by one trigger, from which a mapping is named."""


def advice(study: Study) -> list[str]:
    """Return it as a sentence; nothing where copying took little of the time.

    It is about the trigger that cost most, in the process that it cost most in.
    """
    dearest = max(study.triggers, key=lambda cost: cost.copy_ns, default=None)
    little = study.copies.sum < _WORTH * study.durations.sum
    if dearest is None or not dearest.copy_ns or little:
        return []
    trigger = dearest.trigger
    first = max(study.processes, key=lambda each: each.triggers.get(trigger, 0))
    if trigger == "maybe_guard" and not dearest.anon_vma:
        return [f"{UNGUARD}."]
    uffd = all(bit.startswith("uffd_") for bit in trigger.split("+"))
    if uffd and not dearest.anon_vma:
        return [f"{NO_EVENT_FORK}, if the child's faults need not be seen."]
    if first.triggers.get(trigger, 0) < _MUCH * dearest.copy_ns:
        return []
    return _of_process(study, first.name, trigger)


def _of_process(study: Study, comm: str, trigger: str) -> list[str]:
    if mapping := _mapping(study, comm, trigger):
        return [
            f"Use madvise(MADV_DONTFORK) on {mapping} there, if the child does not "
            "use that memory."
        ]
    if comm == OTHER:
        return []
    return [f"Run forktrace explain PID to see what can be done in {named(comm)}."]


def _mapping(study: Study, comm: str, trigger: str) -> str:
    """Return the mapping that cost most, if it has a name and children can lose it."""
    shares = [
        each for each in study.shares if (each.comm, each.trigger) == (comm, trigger)
    ]
    whole = sum(each.copy_ns for each in shares)
    if not whole or shares[0].copy_ns < _MOST * whole:
        return ""
    name = shares[0].mapping
    # The child cannot live without the heap and the like: those are in brackets.
    plain = name not in (ANONYMOUS, NOT_KNOWN, OTHER) and not name.startswith("[")
    return printable(name) if plain else ""
