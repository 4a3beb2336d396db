"""One VMA of every kind, forked 23 times: every decision, trigger and sum is right."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forktrace.bits import ANON_VMA
from tests.live.guest.expected import trigger_of
from tests.live.guest.programs import (
    Forktrace,
    Samples,
    Workload,
    counted_calls,
    growth,
    scrape,
    wait_until,
)

FORKS = 23
PORT = 19435
RELEASE = os.uname().release


@dataclass(frozen=True)
class Scene:
    """Everything two observers and the workload itself said about the same forks."""

    mappings: dict[int, dict[str, Any]]
    said: dict[str, Any]
    forks: list[dict[str, Any]]
    everybody: list[dict[str, Any]]
    calls: int
    before: Samples
    after: Samples
    statuses: tuple[int, int]
    notices: tuple[str, str]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    workload = Workload("every_kind", "--forks", str(FORKS))
    started: list[Forktrace] = []
    try:
        started.append(Forktrace(folder, "run", "--listen", f"127.0.0.1:{PORT}"))
        started.append(Forktrace(folder, "trace", "--json", "--vmas"))
        run, trace = started
        with counted_calls(workload.pid) as calls:
            before = scrape(PORT)
            seen = len(trace.forks())
            said = workload.ask("go")
            wait_until(lambda: len(_of(trace, workload.pid, seen)) >= FORKS)
            after = scrape(PORT)
            counted = calls()
        forks = _of(trace, workload.pid, seen)
        everybody = trace.forks()[seen:]
        statuses = (run.stop(signal.SIGTERM), trace.stop(signal.SIGINT))
        yield Scene(
            mappings={each["start"]: each for each in workload.ready["mappings"]},
            said=said,
            forks=forks,
            everybody=everybody,
            calls=counted,
            before=before,
            after=after,
            statuses=statuses,
            notices=(run.errors(), trace.errors()),
        )
    finally:
        for command in started:
            command.kill()
        workload.close()


def _of(trace: Forktrace, pid: int, seen: int) -> list[dict[str, Any]]:
    return [fork for fork in trace.forks()[seen:] if fork["pid"] == pid]


def test_each_fork_is_one_record_with_its_child(scene: Scene) -> None:
    assert [fork["child_pid"] for fork in scene.forks] == scene.said["forks"]
    assert {fork["outcome"] for fork in scene.forks} == {"ok"}


def test_no_vma_is_missing(scene: Scene) -> None:
    assert scene.said["stable"], scene.said["changed"]
    real = [(vma["start"], vma["end"]) for vma in scene.said["smaps"]]
    for fork in scene.forks:
        told = [(int(v["start"], 16), int(v["end"], 16)) for v in fork["details"]]
        assert told == real


def test_every_vma_of_a_known_kind_has_the_right_decision_and_trigger(
    scene: Scene,
) -> None:
    wrong = []
    met: Counter[str] = Counter()
    for fork in scene.forks:
        for vma in fork["details"]:
            mapping = scene.mappings.get(int(vma["start"], 16))
            if mapping is None:
                continue
            met[mapping["kind"]] += 1
            expected = _expected(mapping)
            if (vma["decision"], vma["trigger"]) != expected:
                wrong.append((mapping["kind"], expected, vma))
    assert not wrong
    assert met == {each["kind"]: FORKS for each in scene.mappings.values()}


def _expected(mapping: dict[str, Any]) -> tuple[str, str | None]:
    if mapping["fixed"]:
        return mapping["fixed"], None
    trigger = trigger_of(
        RELEASE, set(mapping["src"]), set(mapping["dst"]), mapping["anon_vma"]
    )
    return ("copy", trigger) if trigger else ("skip", None)


def test_every_other_vma_of_the_process_is_right_too(scene: Scene) -> None:
    anonymous = {vma["start"]: vma["anonymous"] > 0 for vma in scene.said["smaps"]}
    for vma in scene.forks[0]["details"]:
        start = int(vma["start"], 16)
        if start in scene.mappings:
            continue
        if "wipeonfork" in vma["flags"]:  # glibc's random numbers, since 2.41
            assert (vma["decision"], vma["trigger"]) == ("wipeonfork", None)
            continue
        assert vma["anon_vma"] or not anonymous[start], "anonymous pages, no anon_vma"
        trigger = trigger_of(
            RELEASE, set(vma["flags"]), set(vma["flags"]), vma["anon_vma"]
        )
        assert (vma["decision"], vma["trigger"]) == (
            ("copy", trigger) if trigger else ("skip", None)
        )


def test_uffd_wp_is_copied_only_when_the_childs_vma_keeps_it(scene: Scene) -> None:
    by_kind = {
        mapping["kind"]: vma
        for vma in scene.forks[0]["details"]
        if (mapping := scene.mappings.get(int(vma["start"], 16)))
    }
    if not {"uffd_wp", "uffd_wp_event_fork"} <= by_kind.keys():
        pytest.skip("this kernel cannot write-protect through userfaultfd")
    without, surviving = by_kind["uffd_wp"], by_kind["uffd_wp_event_fork"]
    assert "uffd_wp" in without["flags"]
    assert without["decision"] == "skip"
    if "uffd_wp" in (trigger_of(RELEASE, {"uffd_wp"}, {"uffd_wp"}, False) or ""):
        assert surviving["decision"] == "copy"
        assert surviving["trigger"] == "uffd_wp"


def test_an_observer_without_bpf_counts_the_same_calls(scene: Scene) -> None:
    told = sum(fork["vmas"]["copy"] + fork["vmas"]["skip"] for fork in scene.forks)
    assert scene.calls == told


def test_the_counts_of_a_fork_are_those_of_its_vmas(scene: Scene) -> None:
    for fork in scene.forks:
        decided = Counter(vma["decision"] for vma in fork["details"])
        assert {name: decided[name] for name in fork["vmas"]} == fork["vmas"]
        for key in ("copy_ns", "page_table_bytes"):
            assert fork[key] == sum(vma[key] for vma in fork["details"])
            assert fork[key] == sum(row[key] for row in fork["triggers"])


def test_mappings_are_named_while_their_process_lives(scene: Scene) -> None:
    for fork in scene.forks:
        names = [vma["name"] for vma in fork["details"]]
        assert {"[heap]", "[stack]", "[vdso]", None} <= set(names)


def test_a_fork_takes_at_least_as_long_as_its_copies(scene: Scene) -> None:
    assert all(0 < fork["copy_ns"] <= fork["duration_ns"] for fork in scene.forks)


def test_metrics_equal_the_sum_of_the_events(scene: Scene) -> None:
    grew = {
        decision: growth(
            scene.before, scene.after, "forktrace_vmas_total", decision=decision
        )
        for decision in ("copy", "skip", "dontcopy", "wipeonfork")
    }
    assert grew == {
        decision: sum(fork["vmas"][decision] for fork in scene.everybody)
        for decision in grew
    }
    ok = growth(scene.before, scene.after, "forktrace_forks_total", outcome="ok")
    assert ok == len(scene.everybody)


def test_metrics_equal_the_events_trigger_by_trigger(scene: Scene) -> None:
    vmas: Counter[tuple[str, str]] = Counter()
    tables: Counter[tuple[str, str]] = Counter()
    for fork in scene.everybody:
        for row in fork["triggers"]:
            key = (row["trigger"], str(row["anon_vma"]).lower())
            vmas[key] += row["vmas"]
            tables[key] += row["page_table_bytes"]
    assert vmas
    for (trigger, anon_vma), count in vmas.items():
        labels = {"trigger": trigger, "anon_vma": anon_vma}
        for name, told in (
            ("forktrace_copied_vmas_total", count),
            ("forktrace_page_table_bytes_total", tables[trigger, anon_vma]),
        ):
            assert growth(scene.before, scene.after, name, **labels) == told


def test_metrics_say_which_process_by_which_trigger(scene: Scene) -> None:
    told: Counter[tuple[str, str]] = Counter()
    for fork in scene.everybody:
        for row in fork["triggers"]:
            told[fork["comm"], row["trigger"]] += row["vmas"]
    name = "forktrace_process_trigger_copied_vmas_total"
    grown = {
        (dict(labels)["comm"], dict(labels)["trigger"]): now
        - scene.before.get((each, labels), 0.0)
        for (each, labels), now in scene.after.items()
        if each == name
    }
    own = {pair: told[pair] for pair in grown if pair in told}
    assert (scene.forks[0]["comm"], ANON_VMA) in own
    assert own.items() <= grown.items()
    assert sum(grown.values()) == sum(told.values())


def test_nothing_was_lost(scene: Scene) -> None:
    lost = {
        key: value
        for key, value in scene.after.items()
        if key[0] == "forktrace_lost_total"
    }
    assert lost
    assert not any(lost.values()), lost


def test_both_end_cleanly_and_say_what_there_was(scene: Scene) -> None:
    assert scene.statuses == (0, 0)
    for notice in scene.notices:
        assert f"Tracing forks on {RELEASE}" in notice
        assert "Traceback" not in notice
    assert f"{len(scene.forks)}" in scene.notices[1]


def test_no_probe_is_left_behind(scene: Scene) -> None:
    assert scene.statuses == (0, 0)
    armed = Path("/sys/kernel/debug/kprobes/list").read_text()
    assert "copy_page_range" not in armed
    assert "kernel_clone" not in armed
