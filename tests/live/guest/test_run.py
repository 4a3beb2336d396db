"""A daemon that serves: with no privileges, and whatever happens to it on the way."""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.guest.listed import KPROBES, witnessed
from tests.live.guest.programs import (
    FORKTRACE,
    Forktrace,
    Samples,
    children,
    scrape,
    wait_until,
)

PORT = 19437
QUICK = [sys.executable, "-m", "tests.live.guest.quick_windows"]
O_CLOEXEC = 0o2000000
NONE = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}
LOCKED = ("prlimit", "--memlock=unlimited")
"""Linux before 5.11 counts BPF maps as locked memory."""

SERVICE = ["bpf", "perfmon", "sys_admin"]


def fork() -> None:
    os.waitpid(os.fork() or os._exit(0), 0)


def checked(samples: Samples) -> float:
    return sum(
        value
        for (name, _), value in samples.items()
        if name == "forktrace_decision_checks_total"
    )


def failures(samples: Samples) -> float:
    return samples["forktrace_decision_window_failures_total", frozenset()]


def wait_for_a_window() -> None:
    """Fork until a fork is checked that began after this was called."""
    # The window that may be open now ends first.
    wait_until(lambda: not witnessed())
    before = checked(scrape(PORT))

    def seen() -> bool:
        fork()
        return checked(scrape(PORT)) > before

    wait_until(seen)


def privileges(pid: int) -> list[dict[str, int]]:
    """Return the capability sets of each thread, and whether exec can give more."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            lines = (task / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # A thread that answered a request has ended.
        pairs = dict(line.split(":\t", 1) for line in lines)
        sets = {name: int(value, 16) for name, value in pairs.items() if name in NONE}
        found.append({**sets, "NoNewPrivs": int(pairs["NoNewPrivs"])})
    return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Forktrace]:
    """A daemon that does all it can, and its files in ``tmp_path``."""
    config = tmp_path / "web.yml"
    config.write_text("{}")
    config.chmod(0o600)
    daemon = Forktrace(
        tmp_path,
        *("run", "--listen", f"127.0.0.1:{PORT}", "--self-stats"),
        *("--textfile", str(tmp_path), "--web.config.file", str(config)),
        command=QUICK,
    )
    try:
        wait_until(lambda: "Metrics on" in daemon.errors())
        yield daemon
    finally:
        daemon.kill()


def test_no_thread_has_a_capability_while_all_goes_on(
    running: Forktrace, tmp_path: Path
) -> None:
    wait_for_a_window()
    (tmp_path / "forktrace.prom").unlink()
    wait_until((tmp_path / "forktrace.prom").exists)
    (tmp_path / "web.yml").write_text(
        "http_server_config: {headers: {X-Frame-Options: deny}}"
    )
    url = f"http://127.0.0.1:{PORT}/healthz"
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["X-Frame-Options"] == "deny"
    held = privileges(running.process.pid)
    assert len(held) > 1
    assert all(each == {**NONE, "NoNewPrivs": 1} for each in held), held
    wait_for_a_window()
    samples = scrape(PORT)
    assert failures(samples) == 0
    runs = [v for (name, _), v in samples.items() if name.endswith("probe_runs_total")]
    assert sum(runs) > 0
    assert running.stop() == 0
    assert "warning" not in running.errors()


def test_the_child_that_opens_probes_can_do_nothing_else(running: Forktrace) -> None:
    (child,) = children(running.process.pid)
    wait_for_a_window()
    (held,) = privileges(child)
    can = 1 << 21 | 1 << 38  # SYS_ADMIN, PERFMON
    assert held == {
        **NONE,
        "CapPrm": can,
        "CapEff": can,
        "CapBnd": can,
        "NoNewPrivs": 1,
    }
    opened = [os.readlink(fd) for fd in Path(f"/proc/{child}/fd").iterdir()]
    assert not [name for name in opened if "bpf" in name or "perf" in name], opened
    assert running.stop() == 0
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.thorough
def test_without_setpcap_the_bounding_set_stays_and_gives_nothing(
    tmp_path: Path,
) -> None:
    kept = "".join(f",+{name}" for name in SERVICE)
    limits = (*LOCKED, "setpriv", "--inh-caps=-all", f"--bounding-set=-all{kept}")
    daemon = Forktrace(
        tmp_path,
        *("run", "--listen", f"127.0.0.1:{PORT}"),
        command=[*limits, *FORKTRACE],
    )
    try:
        wait_until(lambda: "Metrics on" in daemon.errors())
        held = privileges(daemon.process.pid)
    finally:
        daemon.kill()
    assert all({**each, "CapBnd": 0} == {**NONE, "NoNewPrivs": 1} for each in held)
    assert "warning" not in daemon.errors()


@pytest.mark.thorough
def test_a_user_with_the_capabilities_traces_and_gives_them_up(tmp_path: Path) -> None:
    """The rule comes from BTF then: only root may open the kernel's code."""
    added = "".join(f",+{name}" for name in SERVICE)
    user = ("--reuid=65534", "--regid=65534", "--clear-groups")
    capable = (f"--inh-caps=-all{added}", f"--ambient-caps=-all{added}")
    daemon = Forktrace(
        tmp_path,
        *("run", "--listen", f"127.0.0.1:{PORT}"),
        command=[*LOCKED, "setpriv", *user, *capable, *FORKTRACE],
    )
    try:
        wait_until(lambda: "Metrics on" in daemon.errors())
        fork()
        samples = scrape(PORT)
        held = privileges(daemon.process.pid)
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    assert samples["forktrace_forks_total", frozenset({("outcome", "ok")})] > 0
    assert all(not (each["CapPrm"] or each["CapAmb"]) for each in held)


@pytest.mark.thorough
def test_no_descriptor_is_inherited_by_a_program_it_might_start(
    running: Forktrace,
) -> None:
    pid = running.process.pid
    wait_until(witnessed)
    inherited = []
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, as a window ends
            found = re.search(r"^flags:\s*(\d+)", entry.read_text(), re.MULTILINE)
            assert found
            if int(entry.name) > 2 and not int(found[1], 8) & O_CLOEXEC:
                inherited.append(os.readlink(f"/proc/{pid}/fd/{entry.name}"))
    assert not inherited


def test_a_window_that_cannot_open_is_counted_and_the_next_is_tried(
    running: Forktrace,
) -> None:
    """As where the limit of descriptors is reached; it was fatal, and for good."""
    pid = running.process.pid
    wait_until(lambda: not witnessed())
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    wait_until(lambda: "not being checked" in running.errors())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)  # a scrape takes one too
    assert failures(scrape(PORT)) > 0
    wait_for_a_window()
    assert running.errors().count("not being checked: No room") == 1
    assert running.stop() == 0


@pytest.mark.thorough
@pytest.mark.parametrize("most", [8, 12, 16, 20, 24, 32])
def test_too_few_descriptors_are_no_fault_of_the_kernel(most: int) -> None:
    """Exit status 3 would keep systemd from ever trying again."""
    ended = subprocess.run(
        ["prlimit", f"--nofile={most}", *FORKTRACE, "trace", "--duration=1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode in (0, 1), ended
    if ended.returncode:
        assert "Too many open files" in ended.stderr, ended


def test_without_the_child_that_opens_probes_it_serves_on(running: Forktrace) -> None:
    (child,) = children(running.process.pid)
    wait_until(lambda: not witnessed())
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: "not being checked" in running.errors())
    before = failures(scrape(PORT))
    wait_until(lambda: failures(scrape(PORT)) > before)
    assert running.errors().count("not being checked") == 1
    assert running.stop() == 0


def test_nothing_is_left_when_it_is_killed(running: Forktrace) -> None:
    (child,) = children(running.process.pid)
    running.kill()
    wait_until(lambda: not Path(f"/proc/{child}").exists())
    assert not re.search("copy_page_range|kernel_clone", KPROBES.read_text())


def compilers(pid: int) -> list[int]:
    """Return the children that compile: by then each ends with its parent."""
    found = []
    for child in children(pid):
        with suppress(FileNotFoundError):  # another child, which has ended
            if "memfd" in os.readlink(f"/proc/{child}/fd/2"):
                found.append(child)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_compiles_ends_it_at_once(number: int) -> None:
    """Long before it could say that it traces; the compiler goes with it."""
    run = subprocess.Popen(
        [*FORKTRACE, "trace"],
        env=os.environ | {"CACHE_DIRECTORY": os.devnull},  # nothing is kept there
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: compilers(run.pid))
        (compiler,) = compilers(run.pid)
        os.kill(compiler, signal.SIGSTOP)  # it would take for ever
        run.send_signal(number)
        said = run.communicate(timeout=300)[1]
    finally:
        run.kill()
    assert run.returncode in (-number, 128 + number)
    assert not said
    wait_until(lambda: not Path(f"/proc/{compiler}").exists())


@pytest.mark.thorough
def test_what_was_compiled_once_is_loaded_without_the_compiler(tmp_path: Path) -> None:
    """A start on an overloaded host does not wait for LLVM again."""
    bcc = importlib.util.find_spec("bcc")
    assert bcc
    assert bcc.origin
    broken = tmp_path / "path/bcc/__init__.py"
    broken.parent.mkdir(parents=True)
    broken.write_text("raise ImportError('nobody may compile')")
    broken.with_name("libbcc.py").touch()
    built = os.stat(bcc.origin).st_mtime_ns
    os.utime(broken, ns=(built, built))  # or it would be another compiler

    def trace(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*FORKTRACE, "trace", "--duration=1"],
            env=os.environ | {"CACHE_DIRECTORY": f"{tmp_path}/kept"} | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    without = {"PYTHONPATH": f"{tmp_path}/path"}
    refused = trace(**without)
    assert (refused.returncode, "nobody may compile" in refused.stderr) == (3, True)
    assert trace().returncode == 0
    kept = trace(**without)
    assert kept.returncode == 0, kept
