"""Mappings of watched processes: which are watched, their names, and what they cost."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forktrace import procfs
from forktrace.errors import UsageError
from forktrace.exporter import watched as module
from forktrace.exporter.watched import (
    MOST_MAPPINGS,
    Choice,
    MappingNames,
    Watched,
    choice_of,
)
from forktrace.model import Fork, Vma
from tests.unit.clocks import StoppedClock
from tests.unit.exporter.watching import DATA, HEAP, MAPS, NAMELESS, UNKNOWN
from tests.unit.recording.samples import fork, vma

SECOND = 1_000_000_000
PREFIX = "forktrace_watched_mapping_"


def shown(watched: Watched, what: str) -> dict[tuple[str, str], float]:
    """Return one metric by process name and mapping, as a scrape has it."""
    return {
        (sample.labels["comm"], sample.labels["mapping"]): sample.value
        for family in watched.families()
        for sample in family.samples
        if sample.name == f"{PREFIX}{what}_total"
    }


def with_vmas(*details: Vma, comm: str = "redis", pid: int = 42) -> Fork:
    return replace(fork(comm=comm, details=details), pid=pid)


@pytest.mark.parametrize(
    ("word", "choice"),
    [
        ("4711", Choice(pids=(4711,))),
        ("redis-server", Choice(comms=("redis-server",))),
        ("0", Choice(comms=("0",))),
        ("redis-server.service", Choice(units=("redis-server.service",))),
        ("user.slice/user-0.slice", Choice(units=("user.slice/user-0.slice",))),
    ],
)
def test_a_word_is_a_process_a_name_or_a_unit(word: str, choice: Choice) -> None:
    assert choice_of([word]) == choice
    assert choice_of([word])


def test_no_words_watch_nothing() -> None:
    assert not choice_of([])


@pytest.mark.parametrize("word", ["", "/"])
def test_a_word_that_means_nothing_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="cannot be watched"):
        choice_of([word])


def test_what_was_copied_is_added_up_by_name() -> None:
    watched = Watched(MappingNames(lambda pid: MAPS))
    left = replace(vma(0x9000, "anon_vma", 7), decision="skip", trigger=None)
    for _ in range(2):
        watched.add(
            with_vmas(
                vma(HEAP, "anon_vma", SECOND),
                vma(DATA, "pfnmap", 2 * SECOND),
                vma(NAMELESS, "anon_vma", 3 * SECOND),
                vma(UNKNOWN, "anon_vma", 4 * SECOND),
                left,
            )
        )
    assert shown(watched, "copy_seconds") == {
        ("redis", "[heap]"): 2,
        ("redis", r"/srv/two  spaces\012.so"): 4,
        ("redis", "[anonymous]"): 6,
        ("redis", "(name not known)"): 8,
        ("other", "other"): 0,
    }
    counts = shown(watched, "copied_vmas")
    assert set(counts.values()) == {2, 0}
    assert shown(watched, "page_table_bytes") == {
        key: 4096 * count for key, count in counts.items()
    }


def test_a_fork_without_its_vmas_counts_for_nothing() -> None:
    watched = Watched(MappingNames(lambda pid: pytest.fail("nobody asked")))
    watched.add(fork())
    assert shown(watched, "copied_vmas") == {("other", "other"): 0}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 40))))
def test_whatever_comes_the_series_are_few_and_add_up(
    forks: list[tuple[str, int]],
) -> None:
    watched = Watched(MappingNames(lambda pid: b""))
    for count, (comm, ns) in enumerate(forks, 1):
        watched.add(with_vmas(vma(HEAP, "anon_vma", ns), comm=comm * (1 + ns % 3)))
        counts = shown(watched, "copied_vmas")
        assert len(counts) <= MOST_MAPPINGS + 1
        assert sum(counts.values()) <= count  # one that lost its series keeps its own


def test_names_without_end_do_not_take_memory_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_NAMES", 20)
    watched = Watched(MappingNames(lambda pid: MAPS))
    for number in range(100):
        watched.add(with_vmas(vma(HEAP, "anon_vma", 1), comm=f"name-{number}"))
    assert len(watched._costs) == 21
    counts = shown(watched, "copied_vmas")
    assert counts["other", "other"] == 100 - MOST_MAPPINGS


def test_a_long_name_keeps_its_end() -> None:
    path = "/srv/" + "a" * 500 + "/data"
    maps = f"00001000-00002000 rw-p 00000000 fe:01 1 {path}\n".encode()
    watched = Watched(MappingNames(lambda pid: maps))
    watched.add(with_vmas(vma(HEAP, "anon_vma", 1)))
    (_, name), _ = shown(watched, "copied_vmas")
    assert len(name) == 200
    assert name.startswith("...a")
    assert name.endswith("a/data")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    return StoppedClock(monkeypatch, module)


class Reader:
    """Counts how often it is asked; what it tells can be changed."""

    def __init__(self) -> None:
        self.asked = 0
        self.maps = MAPS

    def __call__(self, pid: int) -> bytes:
        self.asked += 1
        return self.maps


def test_names_are_asked_for_once_a_second_while_all_are_known(
    clock: StoppedClock,
) -> None:
    reader = Reader()
    names = MappingNames(reader)
    heap = [(HEAP, HEAP + 0x1000)]
    for _ in range(100):
        assert names.of(42, heap)[heap[0]] == "[heap]"
    assert reader.asked == 1
    clock.now += 1.0
    reader.maps = MAPS.replace(b"[heap]", b"[else]")
    assert names.of(42, heap)[heap[0]] == "[else]"


def test_a_new_mapping_is_asked_for_sooner(clock: StoppedClock) -> None:
    reader = Reader()
    names = MappingNames(reader)
    lacking = [(UNKNOWN, UNKNOWN + 0x1000)]
    names.of(42, lacking)
    names.of(42, lacking)
    assert reader.asked == 1
    clock.now += 0.125
    reader.maps = b"00007000-00008000 rw-p 00000000 00:00 0 [new]\n"
    assert names.of(42, lacking)[lacking[0]] == "[new]"


def test_of_a_process_that_is_gone_the_names_are_those_it_had(
    clock: StoppedClock,
) -> None:
    reader = Reader()
    names = MappingNames(reader)
    heap = [(HEAP, HEAP + 0x1000)]
    names.of(42, heap)
    clock.now += 10
    reader.maps = b""
    assert names.of(42, heap)[heap[0]] == "[heap]"
    assert names.of(43, heap) == {}


def test_so_many_processes_are_remembered_and_no_more() -> None:
    names = MappingNames(Reader())
    for pid in range(1000):
        names.of(pid, [])
    assert len(names._known) == 64


def test_without_anybody_to_watch_nothing_is_started() -> None:
    with module.watching(Choice()) as watched:
        assert watched is None


@pytest.mark.skipif(
    not procfs.in_host_pid_namespace(), reason="needs the host's PID namespace"
)
def test_own_mappings_have_their_names() -> None:
    """As a child reads them, which ends with what it is for."""
    with module.watching(Choice(pids=(os.getpid(),))) as watched:
        assert watched
        maps = Path("/proc/self/maps").read_text()
        (stack,) = (line for line in maps.splitlines() if line.endswith("[stack]"))
        start, end = (int(each, 16) for each in stack.split()[0].split("-"))
        copied = replace(vma(start, "anon_vma", 5), end=end)
        watched.add(with_vmas(copied, pid=os.getpid()))
        assert shown(watched, "copied_vmas")["redis", "[stack]"] == 1
