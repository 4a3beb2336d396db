"""The command line: one thin function a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from forktrace import __version__, log
from forktrace.errors import UsageError
from forktrace.exporter.listen import DEFAULT_ADDRESS
from forktrace.options import (
    MAX_PID,
    Attach,
    AttachOption,
    CgroupsOption,
    Color,
    ColorOption,
    CommsOption,
    CountOption,
    CowOption,
    DebugOption,
    Decision,
    DecisionOption,
    DurationOption,
    JsonOption,
    LogFormat,
    LogLevel,
    MinDurationOption,
    PidsOption,
    ReportSort,
    SelfStatsOption,
    Sort,
    StacksOption,
    Table,
    WithWorkload,
    WorkloadArgument,
    not_too_many,
    workload_of,
)

app = typer.Typer(
    name="forktrace",
    help="Show which VMAs fork() copied on this host, by which flag, at what cost.\n\n"
    "Without a command: run.",
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"forktrace {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Take what stands before the command."""


@app.command(epilog="Example: sudo forktrace run --listen 0.0.0.0:19435")
def run(
    listen: Annotated[
        list[str],
        typer.Option(
            "--web.listen-address",
            "--listen",
            metavar="ADDRESS:PORT",
            help="Where metrics are served. May be repeated.",
        ),
    ] = [DEFAULT_ADDRESS],  # noqa: B006 - typer copies it
    systemd_socket: Annotated[
        bool,
        typer.Option("--web.systemd-socket", help="Serve on the sockets of systemd."),
    ] = False,
    telemetry_path: Annotated[
        str,
        typer.Option("--web.telemetry-path", metavar="PATH", help="Where metrics are."),
    ] = "/metrics",
    max_comms: Annotated[
        int, typer.Option(min=1, max=100, help="Series by process name; then `other`.")
    ] = 50,
    max_units: Annotated[
        int, typer.Option(min=1, max=100, help="Series by unit or container, likewise.")
    ] = 25,
    web_config: Annotated[
        Optional[Path],
        typer.Option(
            "--web.config.file",
            metavar="FILE",
            help="TLS and basic auth, in the format of Prometheus's exporter-toolkit.",
        ),
    ] = None,
    textfile: Annotated[
        Optional[Path],
        typer.Option(
            metavar="DIR", help="Write forktrace.prom there too, for node_exporter."
        ),
    ] = None,
    log_level: Annotated[
        LogLevel, typer.Option("--log.level", help="Say what is of it, or above.")
    ] = LogLevel.info,
    log_format: Annotated[
        LogFormat, typer.Option("--log.format", help="How it is written on stderr.")
    ] = LogFormat.text,
    watch: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="PID|COMM|UNIT",
            callback=not_too_many,
            help="Metrics by mapping, too, of this process, of those of this name, or "
            "of this unit of systemd. May be repeated.",
            show_default=False,
        ),
    ] = None,
    cow: CowOption = False,
    attach: AttachOption = Attach.auto,
    decision: DecisionOption = Decision.auto,
    self_stats: SelfStatsOption = False,
    color: ColorOption = Color.auto,
    debug: DebugOption = False,
) -> None:
    """Serve metrics of every fork on this host, until Ctrl-C."""
    log.configure(log_level.value, log_format.value)
    from forktrace import daemon  # noqa: PLC0415
    from forktrace.exporter.watched import choice_of  # noqa: PLC0415

    options = daemon.Options(
        listen=listen,
        systemd_socket=systemd_socket,
        telemetry_path=telemetry_path,
        max_comms=max_comms,
        max_units=max_units,
        web_config=web_config,
        textfile=textfile,
        attach=attach.value,
        decision=decision.value,
        self_stats=self_stats,
        watch=choice_of(watch or ()),
        cow=cow,
    )
    daemon.check(options)
    _require_traceable()
    daemon.run(options)


@app.command(
    epilog="Example: sudo forktrace trace --comm 'redis*' --vmas --count 1",
    cls=WithWorkload,
)
def trace(
    workload: WorkloadArgument = None,
    as_json: JsonOption = False,
    vmas: Annotated[bool, typer.Option("--vmas", help="Show each VMA too.")] = False,
    stacks: StacksOption = False,
    cow: CowOption = False,
    pid: PidsOption = None,
    comm: CommsOption = None,
    cgroup: CgroupsOption = None,
    min_duration: MinDurationOption = 0,
    count: CountOption = 0,
    duration: DurationOption = 0,
    attach: AttachOption = Attach.auto,
    decision: DecisionOption = Decision.auto,
    self_stats: SelfStatsOption = False,
    color: ColorOption = Color.auto,
    debug: DebugOption = False,
) -> None:
    """Print one line for each fork as it happens."""
    from forktrace import tracing  # noqa: PLC0415
    from forktrace.tracer.session import Wanted  # noqa: PLC0415
    from forktrace.vforks import least_ns  # noqa: PLC0415
    from forktrace.views.colour import print_lines  # noqa: PLC0415
    from forktrace.views.lines import HEADER  # noqa: PLC0415

    command = workload_of(workload, pid, cgroup, quiet=as_json)
    _require_traceable()
    min_duration_ns = int(min_duration * 1e6)
    if not as_json:
        print_lines([HEADER])
        sys.stdout.flush()
    tracing.trace(
        Wanted(
            events=True,
            details=vmas,
            stacks=stacks,
            cow=cow,
            pids=pid or (),
            comms=comm or (),
            cgroups=cgroup or (),
            vfork_ns=least_ns(min_duration_ns),
            self_stats=self_stats,
            ring_bytes=16 << 20 if vmas or stacks else 4 << 20,
            follow=command is not None,
        ),
        tracing.Bounds(count, duration, min_duration_ns),
        tracing.SHOW_JSON if as_json else tracing.SHOW_LINES,
        attach.value,
        decision.value,
        command,
    )


@app.command(epilog="Example: sudo forktrace top --sort tables --comm 'redis*'")
def top(
    sort: Annotated[Sort, typer.Option(help="What comes first.")] = Sort.cost,
    comm: Annotated[
        Optional[list[str]],
        typer.Option(
            "--comm",
            "-c",
            metavar="PATTERN",
            callback=not_too_many,
            help="Only processes of this name, or that a glob such as 'redis*' fits. "
            "May be repeated.",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Time between looks.")
    ] = 2.0,
    count: Annotated[
        int, typer.Option(min=0, help="Stop after so many with --plain; 0: never.")
    ] = 0,
    plain: Annotated[
        bool, typer.Option("--plain", help="Only write lines, a block each time.")
    ] = False,
    as_json: JsonOption = False,
    attach: AttachOption = Attach.auto,
    decision: DecisionOption = Decision.auto,
    self_stats: SelfStatsOption = False,
    color: ColorOption = Color.auto,
    debug: DebugOption = False,
) -> None:
    """Show live who forks, how long it takes, and why."""
    from forktrace import top as command  # noqa: PLC0415
    from forktrace.views.terminal import can_take_over  # noqa: PLC0415

    _require_traceable()
    command.top(
        command.Options(
            sort=sort.value,
            comms=comm or (),
            interval=interval,
            count=count,
            plain=plain or not can_take_over(sys.stdout),
            as_json=as_json,
            attach=attach.value,
            decision=decision.value,
            self_stats=self_stats,
        )
    )


@app.command(
    epilog="Example: sudo forktrace record -o forks.gz --duration 60",
    cls=WithWorkload,
)
def record(
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            allow_dash=True,
            help="Where to, - for standard output; a recording that is there is moved "
            "to FILE.old.",
        ),
    ],
    workload: WorkloadArgument = None,
    duration: DurationOption = 0,
    count: CountOption = 0,
    max_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Stop when the file is as large.")
    ] = "1G",
    no_vmas: Annotated[
        bool,
        typer.Option(
            "--no-vmas", help="Not even those of the costliest forks: this is lighter."
        ),
    ] = False,
    stacks: StacksOption = False,
    cow: CowOption = False,
    pid: PidsOption = None,
    comm: CommsOption = None,
    cgroup: CgroupsOption = None,
    min_duration: MinDurationOption = 0,
    attach: AttachOption = Attach.auto,
    decision: DecisionOption = Decision.auto,
    self_stats: SelfStatsOption = False,
    color: ColorOption = Color.auto,
    debug: DebugOption = False,
) -> None:
    """Record every fork in a file, for forktrace report."""
    from forktrace import tracing  # noqa: PLC0415
    from forktrace.recording import command  # noqa: PLC0415
    from forktrace.recording.reader import STANDARD  # noqa: PLC0415
    from forktrace.recording.records import Filters  # noqa: PLC0415

    max_bytes = command.parse_size(max_size)
    command.check(output)
    words = tuple(workload or ())
    started = workload_of(words, pid, cgroup, quiet=output == STANDARD)
    _require_traceable()
    min_duration_ns = int(min_duration * 1e6)
    status = command.record(
        command.Options(
            path=output,
            bounds=tracing.Bounds(count, duration, min_duration_ns),
            max_bytes=max_bytes,
            filters=Filters(
                tuple(pid or ()),
                tuple(comm or ()),
                tuple(cgroup or ()),
                min_duration_ns,
                words,
            ),
            vmas=not no_vmas,
            stacks=stacks,
            cow=cow,
            attach=attach.value,
            decision=decision.value,
            self_stats=self_stats,
            workload=started,
        )
    )
    raise typer.Exit(status)


@app.command(epilog="Example: forktrace report forks.gz --html forks.html")
def report(
    recording: Annotated[
        Path,
        # Why it cannot be read is said in our own words.
        typer.Argument(
            metavar="FILE",
            readable=False,
            allow_dash=True,
            help="What record wrote; - for standard input.",
        ),
    ],
    after: Annotated[
        Optional[Path],
        typer.Argument(
            metavar="AFTER", readable=False, help="Another one, to compare FILE with."
        ),
    ] = None,
    comm: CommsOption = None,
    since: Annotated[
        Optional[str],
        typer.Option(
            metavar="TIME|DURATION",
            help="Only from this time on (ISO 8601), or the last 10m of the recording.",
        ),
    ] = None,
    sort: Annotated[
        ReportSort, typer.Option(help="What comes first of processes and cgroups.")
    ] = ReportSort.cost,
    limit: Annotated[
        Optional[int],
        typer.Option(min=1, help="Show so many rows of each table, or fewer."),
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[
        Optional[Table],
        typer.Option(
            "--csv", help="Print this table alone, as CSV: seconds and bytes."
        ),
    ] = None,
    html: Annotated[
        Optional[Path],
        typer.Option(metavar="OUT", help="Write a page with plots, in one file."),
    ] = None,
    color: ColorOption = Color.auto,
    debug: DebugOption = False,
) -> None:
    """Show what a recording holds; works anywhere, without root."""
    from forktrace.report import command  # noqa: PLC0415
    from forktrace.report.choice import Choice  # noqa: PLC0415

    options = command.Options(Choice.of(comm or (), since), sort.value, limit)
    if as_csv:
        if after or as_json or html:
            raise UsageError(
                "--csv prints one table of one recording.",
                "Leave --json, --html and AFTER out.",
            )
        from forktrace.report import as_csv as csv_command  # noqa: PLC0415

        status = csv_command.report(recording, as_csv.value, options)
    elif after:
        status = command.compare(recording, after, options, as_json=as_json, html=html)
    else:
        status = command.report(recording, options, as_json=as_json, html=html)
    raise typer.Exit(status)


@app.command(epilog="Example: forktrace explain $(pidof redis-server) --rule 7.3")
def explain(
    pid: Annotated[
        Optional[int],
        typer.Argument(
            min=1, max=MAX_PID, help="The process to look at.", show_default=False
        ),
    ] = None,
    all_processes: Annotated[
        bool, typer.Option("--all", help="Rank all processes by what a fork costs.")
    ] = False,
    smaps: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE",
            help="Study a copy of /proc/PID/smaps, of any host; - is standard input.",
        ),
    ] = None,
    rule: Annotated[
        Optional[str],
        typer.Option(metavar="RELEASE", help="Answer by another kernel's rule."),
    ] = None,
    measured: Annotated[
        Optional[str],
        typer.Option(
            metavar="URL|FILE",
            help="Estimate time from these metrics, or from lines of trace --json; by "
            "default from the forktrace that runs on this host, if any.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Show so many processes with --all.")
    ] = 20,
    as_json: JsonOption = False,
    color: ColorOption = Color.auto,
    debug: DebugOption = False,
) -> None:
    """Tell from /proc what a fork of a process would copy, and what to do about it."""
    from forktrace.explain import command  # noqa: PLC0415

    raise typer.Exit(
        command.report(
            pid,
            all_processes=all_processes,
            rule=rule,
            measured=measured,
            smaps=smaps,
            as_json=as_json,
            limit=limit,
        )
    )


@app.command(epilog="Example: sudo forktrace doctor --json")
def doctor(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Tell whether this host can be traced, and what this kernel's rule is."""
    from forktrace import diagnosis  # noqa: PLC0415

    raise typer.Exit(diagnosis.report(as_json=as_json, debug=debug))


@app.command(epilog="Example: sudo forktrace selftest")
def selftest(
    as_json: JsonOption = False,
    attach: AttachOption = Attach.auto,
    decision: DecisionOption = Decision.auto,
    color: ColorOption = Color.auto,
    debug: DebugOption = False,
) -> None:
    """Check on VMAs of every kind that what is recorded is what this kernel does."""
    _require_traceable()
    from forktrace.selftest import command  # noqa: PLC0415

    raise typer.Exit(command.report(attach.value, decision.value, as_json=as_json))


def _require_traceable() -> None:
    from forktrace.kernel.host import require_traceable  # noqa: PLC0415

    require_traceable()
