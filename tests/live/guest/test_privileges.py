"""Service and DaemonSet: their capabilities do, and with one less something fails."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.guest.programs import (
    FORKTRACE,
    PATIENCE,
    Forktrace,
    Samples,
    children,
    scrape,
    wait_until,
)
from tests.live.guest.systemd import SYSTEMD, UNITS, change, systemd

PACKAGING = Path(__file__).parents[3] / "packaging"
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
PORT = 19435

EMPTIED = ("/run", "/tmp", "/var/tmp", "/dev/shm")
"""What a container has of its own, in place of the node's."""


def not_below(*folders: str) -> pytest.MarkDecorator:
    """Skip a test whose program would see nothing of a checkout in these folders."""
    return pytest.mark.skipif(
        str(PACKAGING).startswith(tuple(f"{folder}/" for folder in folders)),
        reason=f"the checkout lies in one of {', '.join(folders)}",
    )


# What container runtimes show of a node: no kcore, no file system below /sys that was
# mounted there, nothing to write to.
CONTAINER = (
    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
    *("--mount-proc", "--uts", "--ipc", "sh", "-c"),
    f"""
    umount --recursive --lazy /sys && mount -t sysfs -o ro sysfs /sys &&
    mount --bind /dev/null /proc/kcore &&
    mount --bind -o ro /proc/sys /proc/sys &&
    for folder in {" ".join(EMPTIED)}; do
        mount -t tmpfs -o ro tmpfs $folder || exit
    done
    exec "$@"
    """,
    "sh",
)


def service() -> tuple[str, ...]:
    """Return the capabilities of the systemd unit."""
    unit = (PACKAGING / "systemd/forktrace.service").read_text()
    found = re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    assert found
    return tuple(name.removeprefix("CAP_").lower() for name in found[1].split())


def container() -> Any:
    """Return the container of the DaemonSet."""
    manifest = yaml.safe_load((PACKAGING / "kubernetes/daemonset.yaml").read_text())
    return manifest["spec"]["template"]["spec"]["containers"][0]


def pod() -> tuple[str, ...]:
    """Return the capabilities of the DaemonSet."""
    added = container()["securityContext"]["capabilities"]["add"]
    return tuple(name.lower() for name in added)


def without(capabilities: Sequence[str], *gone: str) -> tuple[str, ...]:
    assert set(gone) <= set(capabilities)
    return tuple(name for name in capabilities if name not in gone)


@contextmanager
def paranoid(level: int) -> Iterator[None]:
    """Set what perf asks for: above 2, which only some kernels know, SYS_ADMIN."""
    before = PARANOID.read_text()
    PARANOID.write_text(str(level))
    try:
        yield
    finally:
        PARANOID.write_text(before)


def privileged(capabilities: Sequence[str], *around: str) -> list[str]:
    """Return forktrace as root with no more capabilities than these."""
    kept = "".join(f",+{name}" for name in capabilities)
    limits = ("--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all{kept}")
    return [*around, "setpriv", *limits, *FORKTRACE]


def told(folder: Path, command: Sequence[str]) -> Samples:
    """Trace a few forks that way and return the metrics."""
    arguments = container()["args"]
    running = Forktrace(folder, *arguments, command=command)
    try:
        subprocess.run(["/bin/sh", "-c", "(:); (:); (:)"], check=True, timeout=PATIENCE)
        return scrape(PORT)
    finally:
        running.kill()


def refused(command: Sequence[str]) -> str:
    """Return what forktrace says when it cannot trace that way."""
    run = [*command, *container()["args"]]
    ended = subprocess.run(
        run, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 3, ended
    return ended.stderr


def read_from(samples: Samples) -> str:
    return next(
        dict(labels)["read_from"]
        for name, labels in samples
        if name == "forktrace_kernel_info"
    )


def agreeing(samples: Samples) -> float:
    return sum(
        value
        for (name, labels), value in samples.items()
        if name == "forktrace_decision_checks_total" and ("result", "agree") in labels
    )


def counts_pages(samples: Samples) -> bool:
    """Tell whether pinned pages are counted: the place is found by address."""
    return ("forktrace_pinned_bytes_total", frozenset()) in samples


def forks(samples: Samples) -> float:
    return samples["forktrace_forks_total", frozenset({("outcome", "ok")})]


@pytest.mark.thorough
def test_the_services_capabilities_are_enough(tmp_path: Path) -> None:
    with paranoid(3):
        samples = told(tmp_path, privileged(service()))
    assert forks(samples) >= 3
    assert read_from(samples) == "code"
    assert agreeing(samples) > 0
    assert counts_pages(samples)


@pytest.mark.thorough
def test_sys_admin_is_for_kernels_as_paranoid_as_debians(tmp_path: Path) -> None:
    fewer = privileged(without(service(), "sys_admin"))
    with paranoid(3):
        assert "perf_event_paranoid is above 2" in refused(fewer)
    with paranoid(2):
        samples = told(tmp_path, fewer)
    assert read_from(samples) == "code"
    assert agreeing(samples) > 0
    assert counts_pages(samples)


@pytest.mark.thorough
@pytest.mark.parametrize("capability", ["bpf", "perfmon"])
def test_without_it_nothing_is_traced(capability: str) -> None:
    with paranoid(2):
        fewer = without(service(), "sys_admin", capability)
        assert "CAP_BPF and CAP_PERFMON" in refused(privileged(fewer))


ERRORS = Path("/run/forktrace.err")

HERE = f"""
[Unit]
DefaultDependencies=no
[Service]
ExecStart=
ExecStart={" ".join(FORKTRACE)} run
WorkingDirectory={PACKAGING.parent}
StandardError=file:{ERRORS}
WatchdogSec=40
RestartSec=1
"""
"""What is otherwise here: no file system to wait for, this checkout, and less time."""


@contextmanager
def started(unit: str, here: str) -> Iterator[int]:
    """Run systemd with a unit, and with the service as it is ``here``."""
    ERRORS.unlink(missing_ok=True)
    change("forktrace.service", here)
    for file in (PACKAGING / "systemd").iterdir():
        shutil.copy(file, UNITS)
    with paranoid(3), systemd(unit) as pid:
        yield pid


@pytest.fixture
def manager() -> Iterator[int]:
    """systemd with the service. Yields its process id out here."""
    with started("forktrace.service", HERE) as pid:
        wait_until(lambda: ERRORS.exists() and "Metrics" in ERRORS.read_text())
        yield pid


def told_by_systemd(manager: int, what: str) -> int:
    """Return a number that systemd has of the service."""
    enter = ("nsenter", f"--target={manager}", "--mount", "--pid", "--root")
    show = ("systemctl", "show", "forktrace", f"--property={what}", "--value")
    return int(subprocess.check_output([*enter, *show], text=True, timeout=300))


@not_below("/tmp", "/var/tmp", "/home", "/root")
@pytest.mark.thorough
@pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed")
def test_systemd_runs_the_unit_with_all_that_it_forbids(manager: int) -> None:
    subprocess.run(["/bin/sh", "-c", "(:); (:); (:)"], check=True, timeout=PATIENCE)
    samples = scrape(PORT)
    assert forks(samples) >= 3
    assert read_from(samples) == "code"
    assert agreeing(samples) > 0
    assert "warning" not in ERRORS.read_text()
    assert told_by_systemd(manager, "MainPID") > 0


@not_below("/tmp", "/var/tmp", "/home", "/root")
@pytest.mark.thorough
@pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed")
def test_the_units_watchdog_is_fed_and_restarts_what_stands_still(
    manager: int,
) -> None:
    fed = "WatchdogTimestampMonotonic"
    before = told_by_systemd(manager, fed)
    wait_until(lambda: told_by_systemd(manager, fed) > before)
    restarts = told_by_systemd(manager, "NRestarts")
    (daemon,) = (
        pid for pid in children(manager) if "run" in cmdline(pid) and children(pid)
    )
    os.kill(daemon, signal.SIGSTOP)
    wait_until(lambda: told_by_systemd(manager, "NRestarts") > restarts)
    wait_until(lambda: scraped() is not None)


@not_below("/tmp", "/var/tmp", "/home", "/root")
@pytest.mark.thorough
@pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed")
def test_the_unit_takes_options_from_a_file_as_debians_package_has_it() -> None:
    options = Path("/run/forktrace.default")
    options.write_text(f'ARGS="--web.listen-address 127.0.0.1:{PORT + 1}"\n')
    here = HERE.replace(" run\n", f" run $ARGS\nEnvironmentFile={options}\n")
    with started("forktrace.service", here):
        wait_until(lambda: ERRORS.exists() and "Metrics" in ERRORS.read_text())
        assert scrape(PORT + 1)
        assert scraped() is None


def cmdline(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def scraped() -> Samples | None:
    with suppress(OSError):
        return scrape(PORT)
    return None


@not_below("/tmp", "/var/tmp", "/home", "/root")
@pytest.mark.thorough
@pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed")
def test_a_scrape_of_the_socket_unit_starts_the_service() -> None:
    change("forktrace.socket", "[Unit]\nDefaultDependencies=no\n")
    here = HERE.replace(" run\n", " run --web.systemd-socket\n")
    with started("forktrace.socket", here) as manager:
        wait_until(listening)
        assert told_by_systemd(manager, "MainPID") == 0
        first = scrape(PORT)
        assert "Metrics on http://127.0.0.1:19435/metrics" in ERRORS.read_text()
        subprocess.run(["/bin/sh", "-c", "(:); (:); (:)"], check=True, timeout=PATIENCE)
        assert forks(scrape(PORT)) >= forks(first) + 3
        assert "warning" not in ERRORS.read_text()
        assert told_by_systemd(manager, "MainPID") > 0


def listening() -> bool:
    """Tell whether somebody listens, without a connection: that would be a scrape."""
    return f":{PORT:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


@not_below(*EMPTIED)
@pytest.mark.thorough
def test_the_pods_capabilities_are_enough(tmp_path: Path) -> None:
    with paranoid(3):
        samples = told(tmp_path, privileged(pod(), *CONTAINER))
    assert forks(samples) >= 3
    assert read_from(samples) == "code"
    assert agreeing(samples) > 0


@not_below(*EMPTIED)
@pytest.mark.thorough
def test_the_pod_needs_sys_admin_only_where_the_kernel_is_paranoid(
    tmp_path: Path,
) -> None:
    fewer = privileged(without(pod(), "sys_admin"), *CONTAINER)
    with paranoid(3):
        assert "perf_event_paranoid is above 2" in refused(fewer)
    with paranoid(2):
        assert forks(told(tmp_path, fewer)) >= 3


@not_below(*EMPTIED)
@pytest.mark.thorough
@pytest.mark.parametrize("capability", ["bpf", "perfmon"])
def test_without_it_the_pod_traces_nothing(capability: str) -> None:
    with paranoid(2):
        fewer = without(pod(), "sys_admin", capability)
        assert "CAP_BPF and CAP_PERFMON" in refused(privileged(fewer, *CONTAINER))


def test_old_kernels_count_maps_as_locked_memory(tmp_path: Path) -> None:
    """Since 5.11 they count in the memory of the cgroup."""
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 11):
        pytest.skip("it has no such limit")
    little = ("prlimit", "--memlock=65536:65536")
    assert refused(privileged(pod(), *little))
    with_resource = (*pod(), "sys_resource")
    assert forks(told(tmp_path, privileged(with_resource, *little))) >= 3
