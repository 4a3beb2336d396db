"""The two ways to follow copy_page_range(): fentry/fexit, or kprobe/kretprobe.

Both come from one C source and give the same results; fentry costs less than half. All
else hangs on kprobes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from forktrace import libbpf
from forktrace.errors import ForktraceError, Unsupported
from forktrace.kernel.btf import Btf
from forktrace.kernel.page_copies import WHERE_COPIED, Call, find_page_copies
from forktrace.kernel.running import AROUND_DUP_MMAP, RunningKernel
from forktrace.tracer import pinned, program
from forktrace.tracer.attach import Opener, Place, Probes, open_kprobe
from forktrace.tracer.child import in_child
from forktrace.tracer.compiler import source
from forktrace.tracer.hidden import located
from forktrace.tracer.kernel_text import read_text
from forktrace.tracer.layout import Layout
from forktrace.tracer.macros import has_registers, macros
from forktrace.tracer.objects import FENTRY, FEXIT, KPROBE, TRACING

AttachMode = Literal["auto", "fentry", "kprobe"]
Attached = Literal["fentry", "kprobe"]

_BOTH: tuple[Attached, ...] = ("fentry", "kprobe")
_MAPS = (
    *("slots", "totals", "config", "costs", "comm_rows", "cgroup_names"),
    *("children", "events", "cgroup"),
)
_WITNESSES = ("witness_return", "witness_branch")
# Returns before entries and the outermost entry last: the first fork that is seen at
# all is seen from its start.
_KPROBE = program.Hook(KPROBE)
COPY_PROGRAMS: Mapping[Attached, Mapping[str, program.Hook]] = {
    "fentry": {
        "kretfunc__copy_page_range": program.Hook(TRACING, FEXIT, "copy_page_range"),
        "kfunc__copy_page_range": program.Hook(TRACING, FENTRY, "copy_page_range"),
    },
    "kprobe": {"copy_return": _KPROBE, "copy_entry": _KPROBE},
}
"""The programs on copy_page_range() in each way: at its return, at its entry."""

KPROBES_OF_COPIES = (
    Place("copy_page_range", at_return=True),
    Place("copy_page_range"),
)
"""Where the programs of the way "kprobe" hang."""

_FORK_PROGRAMS = (
    ("task_exits", Place("do_exit")),
    ("child_execs", Place("setup_new_exec")),
    ("fork_return", Place("wake_up_new_task", at_return=True)),
    ("child_made", Place("wake_up_new_task")),
    ("fork_fails", Place("copy_process", at_return=True)),
    ("fork_entry", Place("kernel_clone")),
)
_PARTS_PROGRAM = "fork_advances"
_PARTS_PLACES = tuple(map(Place, reversed(AROUND_DUP_MMAP)))

_PAGE = 4096


@dataclass(frozen=True)
class Prepared:
    """What stands ready to be attached, for which kernel; the best way comes first.

    ``stacks`` tells whether the programs can send who called fork.
    ``page_copies``: see ``find_page_copies``.
    """

    kernel: RunningKernel
    ways: tuple[Attached, ...]
    loaded: program.Loaded
    stacks: bool
    page_copies: tuple[Call, ...]


def prepare(mode: AttachMode, ring_bytes: int) -> Prepared:
    """Read the kernel, and load for each way of ``mode`` that it accepts.

    ``ring_bytes`` is a power of two. Raises Unsupported with the last refusal.
    """

    def work() -> tuple[Prepared, list[int]]:
        with Btf.of_running_kernel() as btf:
            kernel = RunningKernel.read(btf, read_text)
            ways, loaded = _first(btf, kernel, mode, ring_bytes)
            stacks = has_registers(btf)
        symbols = located(kernel.symbols, WHERE_COPIED)
        copies = find_page_copies(symbols, kernel.machine, read_text)
        return Prepared(kernel, ways, loaded, stacks, copies), loaded.fds()

    prepared, fds = in_child(work)
    return replace(prepared, loaded=prepared.loaded.with_fds(fds))


def _first(
    btf: Btf, kernel: RunningKernel, mode: AttachMode, ring_bytes: int
) -> tuple[tuple[Attached, ...], program.Loaded]:
    if mode != "auto":
        return (mode,), _load(btf, kernel, (mode,), ring_bytes)
    try:
        return _BOTH, _load(btf, kernel, _BOTH, ring_bytes)
    except Unsupported:
        return ("kprobe",), _load(btf, kernel, ("kprobe",), ring_bytes)


def _load(
    btf: Btf, kernel: RunningKernel, ways: Sequence[Attached], ring_bytes: int
) -> program.Loaded:
    layout = Layout(len(kernel.rule.bits))
    text = source(macros(btf, kernel.rule, layout))
    hooks = dict.fromkeys((name for name, _ in _FORK_PROGRAMS), _KPROBE)
    hooks |= dict.fromkeys((*_WITNESSES, _PARTS_PROGRAM, *pinned.PROGRAMS), _KPROBE)
    for way in ways:
        hooks |= COPY_PROGRAMS[way]
    sizes = dict.fromkeys(_MAPS) | {"events": ring_bytes}
    loaded = program.load(text, hooks, sizes, btf)
    for name, size in layout.value_sizes().items():
        found = libbpf.MapShape.of(loaded.maps[name]).value_size
        if found != size:
            loaded.close()
            raise ForktraceError(
                f"BPF map {name} has values of {found} bytes instead of {size}.",
                "forktrace.c and layout.py do not belong together: install again.",
            )
    return loaded


def attach_copies(
    way: Attached, programs: Mapping[str, int], opener: Opener = open_kprobe
) -> Probes:
    """Attach to copy_page_range() in one way."""
    hung = [programs[name] for name in COPY_PROGRAMS[way]]
    with Probes.all_or_none() as probes:
        for program_fd, place in zip(hung, KPROBES_OF_COPIES):
            if way == "fentry":
                probes.trampoline(program_fd)
            else:
                probes.kprobe(program_fd, place, opener)
    return probes


def attach_forks(programs: Mapping[str, int]) -> Probes:
    """Attach to the start and the end of forks, and to what becomes of children.

    The start comes last: the first fork that is seen at all is seen from its start.
    """
    with Probes.all_or_none() as probes:
        for name, place in _FORK_PROGRAMS:
            probes.kprobe(programs[name], place, open_kprobe)
    return probes


def attach_parts(programs: Mapping[str, int]) -> Probes:
    """Attach to what divides a fork's time; to nothing where the kernel has it not."""
    try:
        with Probes.all_or_none() as probes:
            for place in _PARTS_PLACES:
                probes.kprobe(programs[_PARTS_PROGRAM], place, open_kprobe)
    except Unsupported:
        return Probes()
    return probes


def try_attach(btf: Btf, kernel: RunningKernel) -> dict[Attached, Unsupported | None]:
    """Load and attach in each way; return what refused it, None where nothing did."""
    found: dict[Attached, Unsupported | None] = {}
    for way in _BOTH:
        try:
            loaded = _load_in_child(btf, kernel, way)
            try:
                attach_copies(way, loaded.programs).close()
                attach_forks(loaded.programs).close()
            finally:
                loaded.close()
        except Unsupported as refusal:
            found[way] = refusal
        else:
            found[way] = None
    return found


def _load_in_child(btf: Btf, kernel: RunningKernel, way: Attached) -> program.Loaded:
    def work() -> tuple[program.Loaded, list[int]]:
        loaded = _load(btf, kernel, (way,), _PAGE)
        return loaded, loaded.fds()

    loaded, fds = in_child(work)
    return loaded.with_fds(fds)
