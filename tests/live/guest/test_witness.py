"""Every decision has a witness: it agrees with the rule, and catches a wrong one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import read_kcore
from forktrace.tracer.kernel_text import read_by_probe
from tests.live.guest.expected import trigger_of
from tests.live.guest.listed import KPROBES, witnessed
from tests.live.guest.programs import (
    FORKTRACE,
    PATIENCE,
    TRACEFS,
    Forktrace,
    Workload,
    hidden,
    scrape,
    wait_until,
)

RELEASE = os.uname().release
PORT = 19436
WRONG = [sys.executable, "-m", "tests.live.guest.wrong_rule"]
HAS_SYMBOL = "vma_needs_copy" in Path("/proc/kallsyms").read_text()
WITNESS = "return" if HAS_SYMBOL else "branch"


def checks(samples: Any) -> dict[tuple[str, str], float]:
    """Return forktrace_decision_checks_total by source and result."""
    return {
        (dict(labels)["source"], dict(labels)["result"]): value
        for (name, labels), value in samples.items()
        if name == "forktrace_decision_checks_total"
    }


def test_witness_and_rule_agree_on_every_vma_of_a_large_workload(
    tmp_path: Path,
) -> None:
    """2,000 VMAs, 100 forks, and the witness of this kernel saw each decision."""
    vmas, forks = 2000, 100
    workload = Workload("many_vmas", "--vmas", str(vmas), "--forks", str(forks))
    run = Forktrace(
        tmp_path, "run", "--listen", f"127.0.0.1:{PORT}", "--decision", "observe"
    )
    try:
        workload.ask("go")
        seen = checks(scrape(PORT))
        samples = scrape(PORT)
        lost = sum(
            v for (name, _), v in samples.items() if name == "forktrace_lost_total"
        )
        assert run.stop() == 0
    finally:
        run.kill()
        workload.close()
    assert seen[WITNESS, "agree"] >= vmas * forks
    assert seen[WITNESS, "disagree"] == 0
    assert sum(seen.values()) == seen[WITNESS, "agree"]
    assert lost == 0
    assert "warning" not in run.errors()


@pytest.mark.thorough
def test_by_rule_alone_no_witness_is_attached(tmp_path: Path) -> None:
    run = Forktrace(
        tmp_path, "run", "--listen", f"127.0.0.1:{PORT}", "--decision", "rule"
    )
    try:
        probed = witnessed()
        os.waitpid(os.fork() or os._exit(0), 0)
        seen = checks(scrape(PORT))
        assert run.stop() == 0
    finally:
        run.kill()
    assert not probed
    assert not any(seen.values())
    assert "decisions from rule" in run.errors()


def test_a_wrong_rule_is_caught(tmp_path: Path) -> None:
    run = Forktrace(
        tmp_path,
        *("run", "--listen", f"127.0.0.1:{PORT}", "--decision", "observe"),
        command=WRONG,
    )
    try:
        # Every process of this architecture has a PFNMAP or MIXEDMAP VMA: [vvar].
        os.waitpid(os.fork() or os._exit(0), 0)
        seen = checks(scrape(PORT))
        wait_until(lambda: "warning" in run.errors())
        assert run.stop() == 0
    finally:
        run.kill()
    assert seen[WITNESS, "disagree"] > 0
    warning = next(line for line in run.errors().splitlines() if "warning" in line)
    assert "copied a VMA where its rule says skip" in warning
    assert re.search(r"src flags 0x[0-9a-f]+ \(.*(pfnmap|mixedmap)", warning)


def decisions(tmp_path: Path, command: list[str]) -> tuple[list[Any], str]:
    """Trace two forks of one VMA of every kind; return what was wrong and stderr."""
    workload = Workload("every_kind", "--forks", "2")
    trace = Forktrace(
        tmp_path,
        *("trace", "--json", "--vmas", "--pid", str(workload.pid), "--count", "2"),
        command=command,
    )
    try:
        workload.ask("go")
        assert trace.process.wait(PATIENCE) == 0
        by_start = {each["start"]: each for each in workload.ready["mappings"]}
    finally:
        trace.kill()
        workload.close()
    wrong, met = [], 0
    for fork in trace.forks():
        for vma in fork["details"]:
            mapping = by_start.get(int(vma["start"], 16))
            if mapping is None or mapping["fixed"]:
                continue
            met += 1
            trigger = trigger_of(
                RELEASE, set(mapping["src"]), set(mapping["dst"]), mapping["anon_vma"]
            )
            if vma["trigger"] != trigger:
                wrong.append((mapping["kind"], trigger, vma))
    assert met > 10
    return wrong, trace.errors()


def test_without_kcore_a_bpf_program_reads_the_code(tmp_path: Path) -> None:
    wrong, errors = decisions(tmp_path, [*hidden("/proc/kcore"), *FORKTRACE])
    assert not wrong
    assert f"decisions from {'return' if HAS_SYMBOL else 'branch'}" in errors


def test_without_the_code_the_rule_comes_from_elsewhere_and_is_right(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.live.guest.no_code"]
    wrong, errors = decisions(tmp_path, command)
    assert not wrong
    # The place of the branch witness was in the code; a symbol is still a symbol.
    assert f"decisions from {'return' if HAS_SYMBOL else 'rule'}" in errors


@pytest.mark.parametrize("hide", ["nothing", "address"])
def test_a_bpf_program_reads_what_kcore_has(hide: str) -> None:
    symbol = Symbols.read("copy_page_range").found["copy_page_range"]
    text = read_kcore(symbol)
    wanted = symbol if hide == "nothing" else Symbol(symbol.name, 0, 0)
    read = read_by_probe(wanted)
    assert read.address == text.address
    size = min(len(read.code), len(text.code))
    assert size > 300
    assert read.code[:size] == text.code[:size]


@pytest.fixture
def other_tracers(tmp_path: Path) -> Iterator[Path]:
    """bpftrace, the function tracer and a kprobe of tracefs sit there already.

    Yields the file that bpftrace writes its count of calls to when it ends.
    """
    (TRACEFS / "kprobe_events").write_text("p:others/cpr copy_page_range\n")
    (TRACEFS / "events/others/cpr/enable").write_text("1")
    functions = TRACEFS / "set_ftrace_filter"
    tracers = (TRACEFS / "available_tracers").read_text().split()
    if "function" in tracers:
        functions.write_text("copy_page_range\n")
        (TRACEFS / "current_tracer").write_text("function")
    counted = tmp_path / "bpftrace.out"
    with counted.open("wb") as out:
        bpftrace = subprocess.Popen(
            ["bpftrace", "-e", "kprobe:copy_page_range { @calls = count(); }"],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: KPROBES.read_text().count("copy_page_range") >= 2)
        yield counted
    finally:
        bpftrace.send_signal(signal.SIGINT)
        bpftrace.wait(PATIENCE)
        if "function" in tracers:
            (TRACEFS / "current_tracer").write_text("nop")
            functions.write_text("\n")
        (TRACEFS / "events/others/cpr/enable").write_text("0")
        (TRACEFS / "kprobe_events").write_text("\n")


@pytest.mark.thorough
def test_other_tracers_on_the_same_function_change_nothing(
    tmp_path: Path, other_tracers: Path
) -> None:
    wrong, errors = decisions(tmp_path, FORKTRACE)
    assert not wrong
    assert f"decisions from {WITNESS}" in errors
    assert "warning" not in errors
    assert "Attaching 1 probe" in other_tracers.read_text()
