"""One tracing session: probes go up, numbers and forks come out, probes go down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from forktrace import libbpf, procfs
from forktrace.cgroups.paths import CgroupPaths, nameless
from forktrace.cow import Cow
from forktrace.errors import Unsupported
from forktrace.kernel.abi import abi
from forktrace.model import Exec, Fork, KernelInfo, ProgramCost, Totals
from forktrace.pulse import Pulse
from forktrace.stacks.callers import Callers
from forktrace.text import encode_comm
from forktrace.tracer import backend, program
from forktrace.tracer.attach import Opener, Probes, open_kprobe
from forktrace.tracer.backend import Attached, AttachMode
from forktrace.tracer.copies import CopyProbes, Doubt
from forktrace.tracer.costs import Costs
from forktrace.tracer.cow import CowTracer
from forktrace.tracer.layout import LOST_STAGES, SOURCES, WAYS, Config, Layout
from forktrace.tracer.left_out import with_left_out
from forktrace.tracer.maps import Assembler, Naming, totals_of, unseen_copies, vmas_of
from forktrace.tracer.most import Most
from forktrace.tracer.opener import OpenerChild
from forktrace.tracer.pinned import attach_page_copies
from forktrace.tracer.sieve import Sieve
from forktrace.tracer.witness import Witness, find_witness, require_witness
from forktrace.vforks import Vfork

DecisionMode = Literal["auto", "observe", "rule"]

_ENDING_SECONDS = 2.0
"""How long the forks under way may take to end before the probes go."""


@dataclass(frozen=True)
class Wanted:
    """Which forks are sent one by one; the totals hold all of them regardless.

    A fork is wanted if it is by one of ``pids``, of ``comms`` and of ``cgroups``; what
    is empty leaves the choice open, and no one may have more than ``CHOICES``.
    Of ``comms`` each is a name or a glob. With ``follow`` only the forks of a process
    and its descendants are sent, which ``Session.follow`` names.
    ``vfork_ns`` sends their vforks, too, that held their caller at least so long; with
    0 none is sent.
    ``events_a_second`` 0 sends all, otherwise a sample of at most so many.
    A cgroup takes in those below it; without ``cgroup_paths`` a fork's cgroup is
    not looked up and is called by its id. ``self_stats`` has the kernel time our own
    programs, which costs a little. ``unprivileged`` leaves to a child what is attached
    later on, so that this process needs no capability once it has started. ``stacks``
    tells who called fork, ``cow`` what copy-on-write costs afterwards. With ``watch``
    the events of all are sent, and ``details`` of a fork that any one of ``pids``,
    ``comms`` and what ``watch_cgroups`` was told fits, however many.
    """

    events: bool = False
    details: bool = False
    events_a_second: int = 0
    vfork_ns: int = 0
    pids: Sequence[int] = ()
    comms: Sequence[str] = ()
    cgroups: Sequence[str] = ()
    self_stats: bool = False
    cgroup_paths: bool = True
    ring_bytes: int = 1 << 20
    unprivileged: bool = False
    stacks: bool = False
    cow: bool = False
    watch: bool = False
    follow: bool = False


class Session:
    """Probes on this host's kernel, from construction until ``close``.

    Raises Unsupported when the kernel refuses. Whatever ends the process takes the
    probes along: they live as long as its descriptors.
    """

    def __init__(
        self,
        attach: AttachMode = "auto",
        decision: DecisionMode = "auto",
        wanted: Wanted | None = None,
        deliver: Callable[[Fork], None] = lambda fork: None,
        deliver_exec: Callable[[Exec], None] = lambda discard: None,
        deliver_vfork: Callable[[Vfork], None] = lambda vfork: None,
        deliver_cow: Callable[[Cow], None] = lambda cow: None,
    ) -> None:
        """Compile, load and attach.

        ``poll`` hands each fork to ``deliver``, to ``deliver_exec`` each child of such
        a fork that called exec, to ``deliver_vfork`` each vfork that is over, and to
        ``deliver_cow`` each child of the host that has ended.
        """
        self._wanted = wanted or Wanted()
        self._cgroups = CgroupPaths()
        # First of all, because it may be wrong usage. A thread stands for its process.
        if self._wanted.pids or self._wanted.stacks or self._wanted.follow:
            procfs.require_host_pid_namespace()
        self._sieve = Sieve(
            *(self._wanted.comms, self._wanted.vfork_ns),
            follow=self._wanted.follow,
            exact=self._wanted.watch,
        )
        self._callers = Callers(abi().registers) if self._wanted.stacks else None
        self._pids = [procfs.read_status(pid).pid for pid in self._wanted.pids]
        self._folders = [self._cgroups.folder(name) for name in self._wanted.cgroups]
        self._probes = Probes()
        self._parts_probes = Probes()
        self._page_probes = Probes()
        self._copies: CopyProbes | None = None
        self._witness_probes = Probes()
        self._ring: libbpf.RingBuffer | None = None
        self._loaded: program.Loaded | None = None
        self._programs: dict[str, libbpf.Program] = {}
        self._opener: OpenerChild | None = None
        self._maps: dict[str, libbpf.MappedArray] = {}
        self._statistics: int | None = None
        self._observing = self._counting = self._disagreed = self._divided = False
        self._counts_pages = False
        self._left = 0
        self._watched_cgroups: Sequence[int] = ()
        self._news: list[str] = []
        self._most = Most()
        self._cow: CowTracer | None = None
        try:
            # Before: of each fork that is seen the child is followed.
            if self._wanted.cow:
                self._cow = CowTracer(deliver_cow)
            self._start(attach, decision, deliver, deliver_exec, deliver_vfork)
        except BaseException:
            self.close()
            raise

    # -- going up -----------------------------------------------------------

    def _start(
        self,
        attach: AttachMode,
        decision: DecisionMode,
        deliver: Callable[[Fork], None],
        deliver_exec: Callable[[Exec], None],
        deliver_vfork: Callable[[Vfork], None],
    ) -> None:
        prepared = backend.prepare(attach, self._wanted.ring_bytes)
        self.kernel = prepared.kernel
        self._loaded = prepared.loaded
        if self._wanted.stacks and not prepared.stacks:
            raise Unsupported(
                "This kernel does not show BPF programs the registers of user space.",
                "--stacks needs Linux 5.15 or later (bpf_task_pt_regs).",
            )
        self._layout = Layout(len(self.kernel.rule.bits))
        self._naming = Naming(self.kernel.rule, self.kernel.names)
        self.witness = self._choose_witness(decision)
        self._maps = {
            name: libbpf.MappedArray(self._fd(name), value)
            for name, value in self._layout.mapped().items()
        }
        self._costs = Costs(self._maps, self._naming.rows(self._layout.rows))
        for name, fd in self._loaded.programs.items():
            self._programs[name] = libbpf.Program(fd)
        if self._wanted.unprivileged:
            self._leave_to_child(decision, prepared.ways)
        self._copies = CopyProbes(
            self._loaded.programs, self._programs, prepared.ways, self._open
        )
        doubt = Doubt(self._copies.missed)
        self._listen(deliver, deliver_exec, deliver_vfork, doubt)
        self._choose_cgroups()
        self.observe(decision != "rule")
        if self._wanted.self_stats:
            self._statistics = libbpf.enable_statistics()
        self._parts_probes = backend.attach_parts(self._loaded.programs)
        self._divided = bool(self._parts_probes)
        self._page_probes = attach_page_copies(
            self._loaded.programs, prepared.page_copies, self.kernel.symbols
        )
        self._counts_pages = bool(self._page_probes)
        self._probes = backend.attach_forks(self._loaded.programs)
        self._counting = True
        self.pulse = Pulse(self._tasks_seen, time.monotonic())
        self._configure()

    def _leave_to_child(self, decision: DecisionMode, ways: Sequence[Attached]) -> None:
        comes_and_goes = self.witness is not None and decision == "auto"
        if comes_and_goes or len(ways) > 1:
            places = self.witness.places if self.witness else ()
            self._opener = OpenerChild((*places, *backend.KPROBES_OF_COPIES))

    @property
    def _open(self) -> Opener:
        return self._opener or open_kprobe

    def _choose_witness(self, decision: DecisionMode) -> Witness | None:
        if decision == "rule":
            return None
        if decision == "observe":
            return require_witness(self.kernel)
        return find_witness(self.kernel)

    def _choose_cgroups(self) -> None:
        for index, path in enumerate(self._folders):
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                libbpf.put_number(self._fd("cgroup"), index, folder)
            finally:
                os.close(folder)

    def _listen(
        self,
        deliver: Callable[[Fork], None],
        deliver_exec: Callable[[Exec], None],
        deliver_vfork: Callable[[Vfork], None],
        doubt: Doubt,
    ) -> None:
        if not self._wanted.events:
            return
        names = self.kernel.names
        # Who only watches what is copied need not know what is not.
        ours = procfs.in_host_pid_namespace() and not self._wanted.watch
        take, take_vfork = self._sieve.before(
            lambda fork: deliver(with_left_out(fork, names)) if ours else deliver(fork),
            deliver_vfork,
        )
        assembler = Assembler(
            self._layout,
            self._naming,
            self._cgroups.path if self._wanted.cgroup_paths else nameless,
            take,
            deliver_exec,
            doubt.about,
            take_vfork,
            self._callers.stack if self._callers else None,
            counts_pages=lambda: self._counts_pages,
        )
        self._ring = libbpf.RingBuffer(self._fd("events"), assembler.receive)

    # -- while it runs --------------------------------------------------------

    @property
    def attached(self) -> Attached:
        """Which programs follow the forks that start from now on."""
        assert self._copies is not None, "the session is closed"
        return self._copies.attached

    @property
    def info(self) -> KernelInfo:
        """What the kernel is and how it is traced."""
        rule = self.kernel.rule
        return KernelInfo(self.kernel.release, self.attached, rule.mask, rule.read_from)

    @property
    def bit_names(self) -> tuple[str, ...]:
        """Names of the rule's bits, in bit order."""
        return self.kernel.names.names(self.kernel.rule.mask)

    @property
    def decided_by(self) -> str:
        """Say in words where decisions come from."""
        if self.witness is None:
            return "rule"
        return self.witness.source

    def observe(self, on: bool) -> None:
        """Let each fork that starts from now on be witnessed, or decided by rule.

        Without a witness nothing changes. After switching off, call
        ``retire_witness`` until it returns True.
        """
        if on and self.witness and not self._witness_probes:
            self._witness_probes = self.witness.attach(
                self._loaded_programs(), self._open
            )
        self._observing = on and self.witness is not None
        self._configure()

    def follow(self, pid: int) -> None:
        """Deliver the forks of this process and its descendants from now on.

        Only with ``Wanted.follow``.
        """
        self._sieve.follow(pid)

    def watch_cgroups(self, numbers: Sequence[int]) -> None:
        """Have forks in these cgroups, not in those below, sent in detail.

        No more than ``WATCHED_CGROUPS``; only with ``Wanted.watch``.
        """
        self._watched_cgroups = numbers
        self._configure()

    def retire_witness(self) -> bool:
        """Detach the witness once the last fork it watches has ended."""
        if self._witness_probes and not any(s.observe for s in self.under_way()):
            self._witness_probes.close()
        return not self._witness_probes

    def poll(self, timeout_ms: int) -> int:
        """Deliver forks that ended; wait for one at most ``timeout_ms``.

        Returns 0 when there was none. It comes back soon, however many there are.
        Call it regularly: it also changes to kprobes where fentry programs miss calls,
        and notices when the kernel runs no probe any more.
        """
        if self._counting:
            self._follow_by_the_better_way()
            self._news += filter(None, [self.pulse.tick(time.monotonic())])
        found = self._ring.poll(timeout_ms) if self._ring else 0
        return found + (self._cow.poll() if self._cow else 0)

    def _follow_by_the_better_way(self) -> None:
        assert self._copies is not None, "the session is closed"
        if self._copies.look(lambda: vmas_of(self._raw_totals())):
            self._configure()
            self._news.append(
                "The kernel does not run all fentry programs here (it preempts them); "
                "tracing goes on with kprobes, which cost more and miss nothing."
            )
        self._copies.retire(self._follows)

    def warnings(self) -> list[str]:
        """Return what has become worth a warning since the last call."""
        odd = None if self._disagreed else self.disagreement()
        if odd:
            self._disagreed = True
            self._news.append(odd)
        said, self._news = self._news, []
        return said

    def drain(self) -> None:
        """Deliver what is left after ``detach``."""
        while self.poll(0):
            pass

    def totals(self) -> Totals:
        """Return the sums since the start, as the kernel holds them now."""
        timed = self._statistics is not None
        programs = {name: each.info() for name, each in self._programs.items()}
        raw = self._raw_totals()
        raw.lost[LOST_STAGES.index("fork_outcome")] += self._left
        totals = totals_of(
            raw,
            self._naming,
            costs=self._costs,
            missed={n: info.recursion_misses for n, info in programs.items()},
            programs=tuple(
                ProgramCost(name, info.run_time_ns, info.run_cnt)
                for name, info in programs.items()
                if timed
            ),
            in_progress=self._in_progress(),
            divided=self._divided,
            counts_pages=self._counts_pages,
        )
        if self._cow:
            cow = self._cow.totals()
            totals = replace(totals, cow=cow, lost={**totals.lost, **cow.lost})
        return self._most.of(totals)

    def forget_cgroups(self, cgroups: Iterable[int]) -> None:
        """Free the places of cgroups that are gone and whose totals were taken."""
        self._costs.give_back(cgroups)

    def _tasks_seen(self) -> int:
        """Return how many tasks a probe has seen start, threads too."""
        return int(self._raw_totals().tasks)

    def disagreement(self) -> str | None:
        """Describe the last VMA on which witness and rule disagreed, if any."""
        raw = self._raw_totals()
        if not any(raw.disagree):
            return None
        missed = self._programs["witness_branch"].info().recursion_misses
        if sum(raw.disagree) <= unseen_copies(raw, {"witness_branch": missed}):
            return None
        names = ",".join(self.kernel.names.names(raw.odd_src_flags))
        did, said = ("copied", "skip") if raw.odd_copied else ("skipped", "copy")
        return (
            f"The kernel {did} a VMA where its rule says {said}: src flags "
            f"{raw.odd_src_flags:#x} ({names}), dst flags {raw.odd_dst_flags:#x}, "
            f"{'an' if raw.odd_anon_vma else 'no'} anon_vma."
        )

    def detach(self) -> None:
        """Take the probes away; totals and events stay readable until ``close``.

        That of fork's entry goes first: the forks under way end with all others there.
        """
        if self._probes and self._counting:
            self._counting = False
            self._configure()
            self._probes.close_last()
            deadline = time.monotonic() + _ENDING_SECONDS
            while self.under_way() and time.monotonic() < deadline:
                time.sleep(0.01)
            self._probes.close()
            self._left = self._in_progress()
        self._probes.close()
        self._parts_probes.close()
        self._page_probes.close()
        if self._cow:
            self._cow.detach()
        if self._copies:
            self._copies.close()
        self._witness_probes.close()

    def close(self) -> None:
        """Detach and unload everything; closing twice is fine."""
        self.detach()
        if self._ring:
            self._ring.close()
            self._ring = None
        if self._callers:
            self._callers.close()
        if self._cow:
            self._cow.close()
            self._cow = None
        for mapped in self._maps.values():
            mapped.close()
        self._maps = {}
        if self._statistics is not None:
            os.close(self._statistics)
            self._statistics = None
        for each in self._programs.values():
            each.close()
        self._programs = {}
        if self._opener:
            self._opener.close()
            self._opener = None
        if self._loaded:
            self._loaded.close()
            self._loaded = None

    def __enter__(self) -> Session:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # -- maps -----------------------------------------------------------------

    def _loaded_programs(self) -> Mapping[str, int]:
        assert self._loaded is not None, "the session is closed"
        return self._loaded.programs

    def _fd(self, name: str) -> int:
        assert self._loaded is not None, "the session is closed"
        return self._loaded.maps[name]

    def _raw_totals(self) -> Any:
        return self._maps["totals"].read()

    def under_way(self) -> list[Any]:
        """Return the slots of forks that have begun and not ended."""
        slots = self._maps["slots"]
        taken = [slots.read(at) for at, task in enumerate(slots.column("task")) if task]
        return [slot for slot in taken if slot.task]  # some have ended meanwhile

    def _in_progress(self) -> int:
        """Count the forks whose outcome is open."""
        slots = self._maps["slots"]
        pairs = zip(slots.column("task"), slots.column("ret"))
        return sum(task != 0 and ret == 0 for task, ret in pairs)

    def _follows(self, way: Attached) -> bool:
        return any(WAYS[slot.way] == way for slot in self.under_way())

    def _configure(self) -> None:
        wanted = self._wanted
        source = self.witness.source if self._observing and self.witness else "rule"
        config = Config(
            observe=SOURCES.index(source),
            events=wanted.events,
            details=wanted.details,
            pids=len(self._pids),
            comms=len(self._sieve.kernel_comms),
            cgroups=len(self._folders),
            event_gap_ns=_gap_ns(wanted.events_a_second),
            vfork_ns=self._sieve.kernel_vfork_ns,
            counting=self._counting,
            way=WAYS.index(self.attached),
            parts=self._divided,
            stacks=self._wanted.stacks,
            watch=wanted.watch,
            watched_cgroups=len(self._watched_cgroups),
        )
        config.watched_cgroup[: len(self._watched_cgroups)] = self._watched_cgroups
        config.pid[: len(self._pids)] = self._pids
        for index, comm in enumerate(self._sieve.kernel_comms):
            config.comm[index].value = encode_comm(comm)
        self._maps["config"].write(config)


def _gap_ns(events_a_second: int) -> int:
    return 10**9 // events_a_second if events_a_second else 0
