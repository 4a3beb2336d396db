"""The published metrics: names, labels, values, and what the ecosystem's tools say."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from forktrace import __version__
from forktrace.bits import ANON_VMA
from forktrace.exporter.metrics import (
    DEFAULT_MAX_UNITS,
    MOST_JOINED,
    MOST_PAIRS,
    MOST_TROUBLED,
    ForktraceCollector,
    new_registry,
)
from forktrace.exporter.watched import MOST_MAPPINGS, MOST_PAIRS_BESIDES, Watched
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import Rule
from forktrace.model import CgroupCost, ProcessCost, Totals, TriggerCost, Vforks
from forktrace.text import decode_comm
from forktrace.tracer import cow
from forktrace.tracer.layout import Layout
from forktrace.tracer.maps import Naming, totals_of
from tests.unit.exporter import samples
from tests.unit.exporter.exposition import both_ways
from tests.unit.exporter.watching import watched_forks
from tests.unit.kernel.fixtures import FROM_7_3

MAX_SERIES = 600
REDIS = {"unit": "redis.service", "namespace": "", "pod": "", "container": ""}


def registry(
    totals: Totals, bits: tuple[str, ...] = (), watched: Watched | None = None
) -> CollectorRegistry:
    return new_registry(
        ForktraceCollector(
            lambda: totals, lambda: samples.INFO, bits=bits, watched=watched
        )
    )


def value(
    totals: Totals, name: str, labels: dict[str, str], bits: tuple[str, ...] = ()
) -> float | None:
    return registry(totals, bits).get_sample_value(name, labels)


def hostile_comms(count: int) -> list[bytes]:
    """Return that many different names of up to 15 bytes, many of them nasty."""
    chance = random.Random(23)
    nasty = b'\n\r\t"\\{}=,# \xff\xc3\xe2\x82\x80\x01\x7f\x85ab'
    names = {
        b"",
        b"other",
        b"\n",
        b'"',
        b"\\",
        b"\\n",
        b"fifteen bytes!!",
        b"\xff" * 15,
    }
    while len(names) < count:
        length = chance.randrange(1, 16)
        names.add(bytes(chance.choices(nasty, k=length)))
    return sorted(names)


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("forktrace_forks_total", {"outcome": "ok"}, 23),
        ("forktrace_forks_total", {"outcome": "failed"}, 2),
        ("forktrace_fork_duration_seconds_sum", {}, 12.5),
        ("forktrace_copy_duration_seconds_sum", {}, 12.5),
        ("forktrace_vmas_total", {"decision": "copy"}, 805),
        ("forktrace_vmas_total", {"decision": "skip"}, 230),
        ("forktrace_vmas_total", {"decision": "dontcopy"}, 46),
        ("forktrace_vmas_total", {"decision": "wipeonfork"}, 69),
        (
            "forktrace_copied_vmas_total",
            {"trigger": "pfnmap+mixedmap", "anon_vma": "false"},
            92,
        ),
        (
            "forktrace_copy_seconds_total",
            {"trigger": "pfnmap+mixedmap", "anon_vma": "false"},
            1.5,
        ),
        (
            "forktrace_page_table_bytes_total",
            {"trigger": "anon_vma", "anon_vma": "true"},
            4_096_000,
        ),
        ("forktrace_exec_discards_total", {}, 19),
        ("forktrace_exec_discarded_copy_seconds_total", {}, 0.75),
        ("forktrace_exec_discarded_page_table_bytes_total", {}, 65536),
        ("forktrace_process_forks_total", {"comm": "redis"}, 4),
        ("forktrace_process_copy_seconds_total", {"comm": "redis"}, 0.5),
        ("forktrace_process_page_table_bytes_total", {"comm": "redis"}, 4096),
        ("forktrace_process_forks_total", {"comm": "other"}, 0),
        ("forktrace_unit_forks_total", REDIS, 6),
        ("forktrace_unit_copy_seconds_total", REDIS, 1.5),
        ("forktrace_unit_page_table_bytes_total", REDIS, 8192),
        ("forktrace_unit_forks_total", {**REDIS, "unit": "other"}, 0),
        (
            "forktrace_decision_checks_total",
            {"source": "branch", "result": "disagree"},
            1,
        ),
        ("forktrace_lost_total", {"stage": "events"}, 7),
        ("forktrace_probe_seconds_total", {"program": "copy_page_range"}, 0.003),
        ("forktrace_probe_runs_total", {"program": "copy_page_range"}, 1035),
        (
            "forktrace_kernel_info",
            {
                "release": "7.3.4-cloud-amd64",
                "attach": "fentry",
                "mask": "0x80010001c00",
                "read_from": "code",
            },
            1,
        ),
        ("forktrace_build_info", {"version": __version__}, 1),
        ("forktrace_probes_running", {}, 1),
    ],
)
def test_each_metric_of_the_contract(
    name: str, labels: dict[str, str], expected: float
) -> None:
    totals = samples.totals(
        (ProcessCost("redis", 4, 500_000_000, 4096),),
        (CgroupCost(2**40, "redis.service", "system.slice", 6, 1_500_000_000, 8192),),
    )
    assert value(totals, name, labels) == expected


def test_a_node_of_kubernetes_has_its_name_beside_its_kernel() -> None:
    info = replace(samples.INFO, node="node-7\udcff")
    named = new_registry(ForktraceCollector(samples.totals, lambda: info))
    for all_samples in both_ways(named):
        labels = next(
            s.labels for s in all_samples if s.name == "forktrace_kernel_info"
        )
        assert labels["node"] == "node-7\\udcff"
        assert labels["release"] == samples.INFO.release


def test_histogram_buckets_are_cumulative_and_in_seconds() -> None:
    totals = samples.totals()
    counts = totals.fork_duration.counts

    def bucket(le: str) -> float | None:
        return value(totals, "forktrace_fork_duration_seconds_bucket", {"le": le})

    assert bucket("2e-05") == counts[0]
    assert bucket("5e-05") == counts[0] + counts[1]
    assert bucket("10.0") == sum(counts[:-1])
    assert bucket("+Inf") == sum(counts)
    assert value(totals, "forktrace_fork_duration_seconds_count", {}) == sum(counts)


def test_fixed_label_values_stand_at_zero_before_anything_happens() -> None:
    totals = samples.totals()
    checks = {"source": "return", "result": "disagree"}
    assert value(totals, "forktrace_decision_checks_total", checks) == 0
    trigger = {"trigger": "maybe_guard", "anon_vma": "false"}
    copied = "forktrace_copied_vmas_total"
    assert value(totals, copied, trigger) is None
    assert value(totals, copied, trigger, ("maybe_guard",)) == 0


def test_the_daemons_own_memory_is_there_and_pythons_defaults_are_not() -> None:
    text = generate_latest(registry(samples.totals())).decode()
    assert "\nprocess_resident_memory_bytes " in text
    assert "python_" not in text


def anon_vma(cost: int) -> TriggerCost:
    return TriggerCost(ANON_VMA, True, 2, cost, cost)


@pytest.mark.parametrize("watching", [False, True])
def test_a_hundred_thousand_hostile_names_stay_within_the_series_budget(
    watching: bool,
) -> None:
    comms = hostile_comms(100_000)
    processes = tuple(
        ProcessCost(
            decode_comm(comm),
            1,
            n,
            n,
            triggers=(TriggerCost("anon_vma", True, 2, n, n),),
            failed=1,
            vforks=Vforks(1, n),
        )
        for n, comm in enumerate(comms)
    )
    cgroups = tuple(
        CgroupCost(n + 1, f"{decode_comm(comm)}.service", "system.slice", 1, n, n)
        for n, comm in enumerate(comms)
    )
    watched = watched_forks(map(decode_comm, comms[:5000])) if watching else None
    full = registry(samples.full_totals(processes, cgroups), samples.BITS, watched)
    for all_samples in both_ways(full):
        assert len(all_samples) <= MAX_SERIES
        units = {
            sample.labels["unit"]: sample.value
            for sample in all_samples
            if sample.name == "forktrace_unit_forks_total"
        }
        assert len(units) == DEFAULT_MAX_UNITS + 1
        assert sum(units.values()) == len(comms)
        shown = {
            sample.labels["comm"]: sample.value
            for sample in all_samples
            if sample.name == "forktrace_process_forks_total"
        }
        assert set(shown) <= {decode_comm(comm) for comm in comms}
        assert len(shown) == 51
        assert sum(shown.values()) == len(comms)
        pairs = {
            (sample.labels["comm"], sample.labels["trigger"]): sample.value
            for sample in all_samples
            if sample.name == "forktrace_process_trigger_copied_vmas_total"
        }
        copied = {
            (sample.labels["trigger"], sample.labels["anon_vma"]): sample.value
            for sample in all_samples
            if sample.name == "forktrace_copied_vmas_total"
        }
        assert len(copied) == 1 + 2 * len(samples.BITS) + MOST_JOINED + 1
        every = samples.full_totals(()).triggers
        assert sum(copied.values()) == sum(cost.vmas for cost in every)
        assert len(pairs) == (MOST_PAIRS_BESIDES if watching else MOST_PAIRS) + 1
        for name in ("fork_failures", "vforks"):
            troubled = [
                sample.value
                for sample in all_samples
                if sample.name == f"forktrace_process_{name}_total"
            ]
            assert len(troubled) == MOST_TROUBLED + 1
            assert sum(troubled) == len(comms)
        assert sum(pairs.values()) == 2 * len(comms)
        mappings = [
            sample.value
            for sample in all_samples
            if sample.name == "forktrace_watched_mapping_copied_vmas_total"
        ]
        assert len(mappings) == (MOST_MAPPINGS + 1 if watching else 0)
        assert sum(mappings) == (5000 if watching else 0)


def test_what_a_process_copied_is_told_by_trigger() -> None:
    """With and without an anon_vma together; a process called other hides nothing."""
    parts = (
        TriggerCost("pfnmap", False, 1, 1_000_000_000, 0),
        TriggerCost("pfnmap", True, 2, 2_000_000_000, 0),
        TriggerCost("anon_vma", True, 4, 500_000_000, 4096),
    )
    processes = (
        ProcessCost("sh", 9, 3_500_000_000, 4096, triggers=parts),
        ProcessCost("other", 1, 500_000_000, 4096, triggers=parts[2:]),
    )
    text = generate_latest(registry(samples.totals(processes))).decode()
    name = "\nforktrace_process_trigger_copy_seconds_total"
    assert f'{name}{{comm="sh",trigger="pfnmap"}} 3.0' in text
    assert f'{name}{{comm="sh",trigger="anon_vma"}} 0.5' in text
    assert f'{name}{{comm="other",trigger="other"}} 0.5' in text


def test_the_series_budget_counts_what_the_tracer_can_fill() -> None:
    rule = Rule(FROM_7_3, "code")
    raw = Layout(len(rule.bits)).KernelTotals()
    for row in raw.rows:
        row.vmas = 1
    real, full = totals_of(raw, Naming(rule, FlagNames())), samples.full_totals(())
    assert set(full.lost) == {*real.lost, *cow.LOST_STAGES}
    assert sorted((cost.trigger, cost.anon_vma) for cost in full.triggers) == sorted(
        (cost.trigger, cost.anon_vma) for cost in real.triggers
    )


def test_every_name_comes_back_from_both_formats_as_it_was() -> None:
    names = {decode_comm(comm) for comm in hostile_comms(3000)} - {"other"}
    costs = tuple(ProcessCost(name, n, 1, 1) for n, name in enumerate(sorted(names), 1))
    every = new_registry(
        ForktraceCollector(
            lambda: samples.totals(costs), lambda: samples.INFO, len(names)
        )
    )
    for all_samples in both_ways(every):
        found = {
            sample.labels["comm"]: sample.value
            for sample in all_samples
            if sample.name == "forktrace_process_forks_total"
        }
        assert found == {"other": 0, **{cost.comm: cost.forks for cost in costs}}


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_promtool_finds_nothing() -> None:
    processes = tuple(
        ProcessCost(decode_comm(comm), 1, n, n)
        for n, comm in enumerate(hostile_comms(60))
    )
    watched = watched_forks(cost.comm for cost in processes)
    full = registry(samples.full_totals(processes), samples.BITS, watched)
    text = generate_latest(full)
    run = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_scrapes_at_once_read_one_after_the_other() -> None:
    inside, most = 0, 0

    def read() -> Totals:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return samples.totals()

    both = new_registry(ForktraceCollector(read, lambda: samples.INFO))
    threads = [threading.Thread(target=generate_latest, args=(both,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
