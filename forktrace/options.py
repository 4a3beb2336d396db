"""What several commands can be told, as typer reads it from their signatures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Optional, TypeVar

import typer
from typer.core import TyperCommand

from forktrace.errors import UsageError
from forktrace.tracer.layout import CHOICES
from forktrace.views.colour import choose
from forktrace.workload import Workload

# include/linux/threads.h: PID_MAX_LIMIT
MAX_PID = 4 * 1024 * 1024

_T = TypeVar("_T")


class Attach(str, Enum):
    """How probes are attached."""

    auto = "auto"
    fentry = "fentry"
    kprobe = "kprobe"


class Decision(str, Enum):
    """Where decisions come from."""

    auto = "auto"
    observe = "observe"
    rule = "rule"


class LogLevel(str, Enum):
    """From which level on something is said."""

    debug = "debug"
    info = "info"
    warn = "warn"
    error = "error"


class LogFormat(str, Enum):
    """How what is said is written."""

    text = "text"
    logfmt = "logfmt"
    json = "json"


class Color(str, Enum):
    """When what is printed has colours."""

    auto = "auto"
    always = "always"
    never = "never"


class Sort(str, Enum):
    """What the rows of top are sorted by."""

    cost = "cost"
    forks = "forks"
    duration = "duration"
    tables = "tables"
    waste = "waste"
    name = "name"


class ReportSort(str, Enum):
    """What the processes and cgroups of a report are sorted by."""

    cost = "cost"
    time = "time"
    duration = "duration"
    forks = "forks"
    tables = "tables"
    waste = "waste"
    name = "name"


class Table(str, Enum):
    """Which table of a report is printed as CSV."""

    forks = "forks"
    vforks = "vforks"
    processes = "processes"
    cgroups = "cgroups"
    triggers = "triggers"
    mappings = "mappings"
    failures = "failures"


def _countable(milliseconds: float) -> float:
    """Refuse what is no whole number of nanoseconds: inf, nan, and what becomes one."""
    if not math.isfinite(milliseconds * 1e6):
        raise typer.BadParameter(f"{milliseconds} is not a duration.")
    return milliseconds


def not_too_many(chosen: Optional[Sequence[_T]]) -> tuple[_T, ...]:
    """Refuse more than the BPF program has room for; return none as none."""
    if chosen and len(chosen) > CHOICES:
        raise typer.BadParameter(f"At most {CHOICES} can be given.")
    return tuple(chosen or ())


def workload_of(
    words: Optional[Sequence[str]],
    pids: Optional[Sequence[int]],
    cgroups: Optional[Sequence[str]],
    *,
    quiet: bool,
) -> Optional[Workload]:
    """Return the command that is to be started, if any; raises ForktraceError."""
    if not words:
        return None
    if pids or cgroups:
        raise UsageError(
            "A command is traced with its descendants, wherever they are.",
            "Leave --pid and --cgroup out, or the command.",
        )
    return Workload(words, quiet=quiet)


AttachOption = Annotated[
    Attach,
    typer.Option(help="fentry is cheaper; auto takes it where the kernel accepts it."),
]
DecisionOption = Annotated[
    Decision,
    typer.Option(
        help="observe: see the kernel decide; rule: work it out from flags; "
        "auto: observe, in run only for a second in each minute."
    ),
]
SelfStatsOption = Annotated[
    bool,
    typer.Option("--self-stats", help="Have the kernel time forktrace's own programs."),
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show compiler and verifier logs of a failure.")
]
ColorOption = Annotated[
    Color,
    typer.Option(
        callback=lambda value: choose(value.value),
        help="auto: on a terminal, unless NO_COLOR is set, or where FORCE_COLOR is.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CowOption = Annotated[
    bool,
    typer.Option(
        "--cow", help="Show what copy-on-write costs until the child ends. Costs more."
    ),
]
StacksOption = Annotated[
    bool,
    typer.Option("--stacks", help="Show which functions called fork. Costs more."),
]
PidsOption = Annotated[
    Optional[list[int]],
    typer.Option(
        "--pid",
        "-p",
        metavar="PID",
        min=1,
        max=MAX_PID,
        callback=not_too_many,
        help="Only forks by this process. May be repeated.",
        show_default=False,
    ),
]
CommsOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--comm",
        "-c",
        metavar="PATTERN",
        callback=not_too_many,
        help="Only forks by processes, or threads, of this name (15 bytes count), or "
        "that a glob such as 'redis*' fits. May be repeated.",
    ),
]
WorkloadArgument = Annotated[
    Optional[list[str]],
    typer.Argument(
        metavar="[-- CMD [ARG]...]",
        help="Start this, trace only forks of it and its descendants, end with it.",
        show_default=False,
    ),
]


class WithWorkload(TyperCommand):
    """A command of ours that may be followed by one to start, behind two dashes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a mistyped word: it must not be started as root."""
        words = list(args[args.index("--") + 1 :]) if "--" in args else []
        rest = super().parse_args(ctx, args)
        if list(ctx.params["workload"] or ()) != words:
            raise UsageError(
                f"forktrace {self.name} takes no words but a command to start.",
                f"Write two dashes before it: forktrace {self.name} -- CMD",
            )
        return rest


CgroupsOption = Annotated[
    Optional[list[str]],
    typer.Option(
        "--cgroup",
        metavar="PATH",
        callback=not_too_many,
        help="Only forks in this cgroup (version 2) or below. May be repeated.",
    ),
]
MinDurationOption = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="MS",
        callback=_countable,
        help="Only forks that took this long, and vforks that held their caller so "
        "long (by default 10 ms).",
    ),
]
CountOption = Annotated[
    int, typer.Option(min=0, help="Stop after so many forks; 0: never.")
]
DurationOption = Annotated[
    float,
    typer.Option(
        "--duration", "-d", min=0, metavar="SECONDS", help="Stop by itself; 0: never."
    ),
]
