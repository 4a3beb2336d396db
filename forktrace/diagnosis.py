"""``forktrace doctor``: can this host be traced, and what is this kernel's rule."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forktrace.errors import EXIT_UNSUPPORTED, ForktraceError, Unsupported
from forktrace.kernel.btf import Btf
from forktrace.kernel.host import Check, can_trace, check_host
from forktrace.kernel.running import RunningKernel
from forktrace.model import SCHEMA
from forktrace.stacks.libdw import library
from forktrace.tracer.backend import Attached, try_attach
from forktrace.tracer.kernel_text import read_text
from forktrace.tracer.macros import has_registers
from forktrace.tracer.witness import find_witness
from forktrace.views.colour import print_lines


@dataclass(frozen=True)
class Diagnosis:
    """What was found; ``attach`` and ``sources`` are empty where nothing can trace.

    ``details`` are the logs of what the kernel refused.
    """

    kernel: RunningKernel
    checks: tuple[Check, ...]
    sources: tuple[str, ...]
    attach: tuple[str, ...]
    details: tuple[str, ...] = ()

    @property
    def can_trace(self) -> bool:
        """Whether ``forktrace run`` would work."""
        return bool(self.attach)

    def to_json(self) -> dict[str, Any]:
        """Return the published object of ``doctor --json``."""
        return {
            "schema": SCHEMA,
            "kernel": self.kernel.release,
            "arch": self.kernel.machine,
            "can_trace": self.can_trace,
            "checks": [check.to_json() for check in self.checks],
            "rule": self.kernel.rule.to_json(self.kernel.names),
            "sources": list(self.sources),
            "attach": list(self.attach),
        }

    def lines(self) -> list[str]:
        """Return what a person reads: the rule, then each check, then the means."""
        reading = self.kernel.reading
        said = [f"Linux {self.kernel.release} ({self.kernel.machine})", ""]
        said.append(f"Rule: {self.kernel.words()}.")
        if reading.reason:
            said.append(f"      The code did not tell: {reading.reason}.")
        said.append("")
        for check in self.checks:
            said.append(f"{'ok' if check.ok else 'NO':<3} {check.name}: {check.detail}")
            if not check.ok:
                said.append(f"    fix: {check.fix}")
        said += [
            "",
            f"Decisions from: {', '.join(self.sources) or 'nothing'}.",
            f"Attach modes: {', '.join(self.attach) or 'none'}.",
        ]
        verdict = "can" if self.can_trace else "cannot"
        return [*said, f"This host {verdict} be traced."]


def diagnose() -> Diagnosis:
    """Look at this host; programs are loaded to see what the kernel accepts."""
    checks = check_host()
    tried: Mapping[Attached, Unsupported | None] = {}
    sources: tuple[str, ...] = ()
    try:
        with Btf.of_running_kernel() as btf:
            kernel = RunningKernel.read(btf, read_text)
            checks += (_stacks(btf),)
            if can_trace(checks):
                tried = try_attach(btf, kernel)
    except ForktraceError:
        kernel = RunningKernel.read(None)
    attach = tuple(way for way, refusal in tried.items() if refusal is None)
    refusals = [(way, refusal) for way, refusal in tried.items() if refusal]
    if attach:
        witness = find_witness(kernel)
        sources = (witness.source, "rule") if witness else ("rule",)
    checks += tuple(
        Check(f"attach by {way}", False, no.message, no.advice, required=not attach)
        for way, no in refusals
    )
    details = tuple(no.details for _, no in refusals if no.details)
    return Diagnosis(kernel, checks, sources, attach, details)


def _stacks(btf: Btf) -> Check:
    try:
        library()
    except Unsupported as missing:
        return Check("stacks", False, missing.message, missing.advice, required=False)
    if has_registers(btf):
        return Check("stacks", True, "who calls fork can be shown", required=False)
    return Check(
        "stacks",
        False,
        "programs cannot read the registers of user space: no --stacks",
        "Boot Linux 5.15 or later (bpf_task_pt_regs).",
        required=False,
    )


def report(*, as_json: bool, debug: bool = False) -> int:
    """Print the diagnosis; return 0 when this host can be traced, else 3."""
    diagnosis = diagnose()
    if debug and diagnosis.details:
        print(*diagnosis.details, sep="\n", file=sys.stderr)
    if as_json:
        print(json.dumps(diagnosis.to_json(), indent=2))
    else:
        print_lines(diagnosis.lines())
    return 0 if diagnosis.can_trace else EXIT_UNSUPPORTED
