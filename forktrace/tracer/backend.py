"""The two ways to attach: fentry/fexit where the kernel takes it, else kprobes.

Both come from one C source and give the same results; fentry costs less than half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from forktrace import libbpf
from forktrace.errors import ForktraceError, Unsupported
from forktrace.kernel.btf import Btf
from forktrace.kernel.running import RunningKernel
from forktrace.tracer import program
from forktrace.tracer.attach import Probes
from forktrace.tracer.child import in_child
from forktrace.tracer.layout import Layout
from forktrace.tracer.macros import macros

AttachMode = Literal["auto", "fentry", "kprobe"]
Attached = Literal["fentry", "kprobe"]

_BOTH: tuple[Attached, ...] = ("fentry", "kprobe")
_MAPS = ("slots", "totals", "config", "comms", "children", "events", "cgroup")
_WITNESSES = ("witness_return", "witness_branch")
# Returns before entries and the outermost entry last: the first fork that is seen at
# all is seen from its start.
_FENTRY = (
    "kretfunc__copy_page_range",
    "kfunc__copy_page_range",
    "kretfunc__kernel_clone",
)
# Program, function, whether at its return.
_COPY_KPROBES = (
    ("copy_return", "copy_page_range", True),
    ("copy_entry", "copy_page_range", False),
)
_FORK_KPROBES = (
    ("child_execs", "setup_new_exec", False),
    ("child_made", "wake_up_new_task", False),
    ("fork_return", "kernel_clone", True),
    ("fork_entry", "kernel_clone", False),
)
_PAGE = 4096


@dataclass(frozen=True)
class Prepared:
    """What stands ready to be attached, for which kernel and in which way."""

    kernel: RunningKernel
    attached: Attached
    loaded: program.Loaded


def prepare(mode: AttachMode, ring_bytes: int) -> Prepared:
    """Read the kernel, and load for the first way of ``mode`` that it accepts.

    ``ring_bytes`` is a power of two. Raises Unsupported with the last refusal.
    """

    def work() -> tuple[Prepared, list[int]]:
        with Btf.of_running_kernel() as btf:
            kernel = RunningKernel.read(btf)
            way, loaded = _first(btf, kernel, mode, ring_bytes)
        return Prepared(kernel, way, loaded), loaded.fds()

    prepared, fds = in_child(work)
    return replace(prepared, loaded=prepared.loaded.with_fds(fds))


def _first(
    btf: Btf, kernel: RunningKernel, mode: AttachMode, ring_bytes: int
) -> tuple[Attached, program.Loaded]:
    ways = _BOTH if mode == "auto" else (mode,)
    for way in ways[:-1]:
        try:
            return way, _load(btf, kernel, way, ring_bytes)
        except Unsupported:
            continue
    return ways[-1], _load(btf, kernel, ways[-1], ring_bytes)


def _load(
    btf: Btf, kernel: RunningKernel, way: Attached, ring_bytes: int
) -> program.Loaded:
    layout = Layout(len(kernel.rule.bits))
    fentry = way == "fentry"
    defined = macros(
        btf, kernel.rule, layout, fentry=fentry, ring_pages=ring_bytes // _PAGE
    )
    hooks = dict.fromkeys((name for name, _, _ in _kprobes(way)), "KPROBE")
    hooks |= dict.fromkeys(_WITNESSES, "KPROBE")
    if fentry:
        hooks |= dict.fromkeys(_FENTRY, "TRACING")
    loaded = program.load(program.source(defined), hooks, _MAPS)
    for name, size in layout.value_sizes().items():
        found = libbpf.map_info(loaded.maps[name]).value_size
        if found != size:
            loaded.close()
            raise ForktraceError(
                f"BPF map {name} has values of {found} bytes instead of {size}.",
                "forktrace.c and layout.py do not belong together: install again.",
            )
    return loaded


def _kprobes(way: Attached) -> tuple[tuple[str, str, bool], ...]:
    return _FORK_KPROBES if way == "fentry" else _COPY_KPROBES + _FORK_KPROBES


def attach(way: Attached, programs: Mapping[str, int]) -> Probes:
    """Attach what ``load`` loaded."""
    probes = Probes()
    try:
        if way == "fentry":
            for name in _FENTRY:
                probes.trampoline(programs[name])
        for name, function, at_return in _kprobes(way):
            probes.kprobe(programs[name], function, at_return=at_return)
    except BaseException:
        probes.close()
        raise
    return probes


def try_attach(btf: Btf, kernel: RunningKernel) -> dict[Attached, Unsupported | None]:
    """Load and attach in each way; return what refused it, None where nothing did."""
    found: dict[Attached, Unsupported | None] = {}
    for way in _BOTH:
        try:
            loaded = _load_in_child(btf, kernel, way)
            try:
                attach(way, loaded.programs).close()
            finally:
                loaded.close()
        except Unsupported as refusal:
            found[way] = refusal
        else:
            found[way] = None
    return found


def _load_in_child(btf: Btf, kernel: RunningKernel, way: Attached) -> program.Loaded:
    def work() -> tuple[program.Loaded, list[int]]:
        loaded = _load(btf, kernel, way, _PAGE)
        return loaded, loaded.fds()

    loaded, fds = in_child(work)
    return loaded.with_fds(fds)
