"""Forks of a real unit and of a real container, by the names that people use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.guest.programs import (
    PATIENCE,
    Forktrace,
    Samples,
    keep,
    scrape,
    wait_until,
)
from tests.live.guest.small_costs import PLACES
from tests.live.guest.systemd import SYSTEMD, change, systemd

pytestmark = pytest.mark.thorough

CGROUPS = Path("/sys/fs/cgroup")
BATCH = 20
PORT = 19438
FORKS = 5
SOCKET = Path("/run/redis/redis.sock")
REDIS = f"""
[Unit]
DefaultDependencies=no
[Service]
ExecStart=
ExecStart=/usr/bin/redis-server --port 0 --unixsocket {SOCKET} --dir {SOCKET.parent} \
--supervised systemd --daemonize no
"""
"""What is otherwise here: no file system to wait for, and none but /run to write to."""

BUSYBOX = Path("/bin/busybox")
STATE = Path("/var/lib")
"""Where Podman keeps what it runs; nothing can be written there in a guest."""

PODMAN = ("podman", "--cgroup-manager=cgroupfs", "--storage-driver=vfs")


@pytest.fixture
def forktrace(tmp_path: Path) -> Iterator[Forktrace]:
    running = Forktrace(tmp_path, "run", "--listen", f"127.0.0.1:{PORT}")
    yield running
    running.kill()


def of_unit(samples: Samples, what: str, **labels: str) -> float:
    """Return a metric by unit; labels that are not given are empty."""
    every = {"unit": "", "namespace": "", "pod": "", "container": "", **labels}
    return samples.get((f"forktrace_unit_{what}_total", frozenset(every.items())), 0.0)


def growth(before: Samples, after: Samples, what: str, **labels: str) -> float:
    return of_unit(after, what, **labels) - of_unit(before, what, **labels)


def redis(*command: str) -> str:
    return subprocess.check_output(
        ["redis-cli", "-s", str(SOCKET), *command], text=True, timeout=PATIENCE
    )


def saved() -> bool:
    return "rdb_bgsave_in_progress:0" in redis("INFO", "persistence")


@pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed")
def test_bgsaves_of_debians_redis_are_those_of_its_unit(forktrace: Forktrace) -> None:
    change("redis-server.service", REDIS)
    with systemd("redis-server.service"):
        wait_until(SOCKET.exists)
        before = scrape(PORT)
        for _ in range(FORKS):
            redis("BGSAVE")
            wait_until(saved)
        samples = scrape(PORT)
    unit = {"unit": "redis-server.service"}
    # What systemd does before it has become Redis is of the unit as well.
    assert growth(before, samples, "forks", **unit) == FORKS
    assert growth(before, samples, "copy_seconds", **unit) > 0
    assert growth(before, samples, "page_table_bytes", **unit) > 0
    assert "warning" not in forktrace.errors()
    keep_units(samples, "units_of_systemd.json")


def keep_units(samples: Samples, name: str) -> None:
    """Leave what each unit forked for those outside the guest."""
    told = [
        {**dict(labels), "forks": value}
        for (metric, labels), value in samples.items()
        if metric == "forktrace_unit_forks_total" and value
    ]
    keep(name, json.dumps(told, indent=2))


@contextmanager
def podmans(root: Path) -> Iterator[None]:
    """Run a shell that forks in a container of that name, below a root of its own."""
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin")
    for name in ("sh", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    run = (
        *PODMAN,
        "run",
        "--detach",
        "--net=none",
        "--name=web",
        "--rootfs",
        str(root),
    )
    forking = ("sh", "-c", "while sleep 0.1; do (:); done")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", STATE], check=True)
    try:
        subprocess.run([*run, *forking], check=True, timeout=PATIENCE)
        try:
            yield
        finally:
            end = (*PODMAN, "rm", "--force", "--time=0", "web")
            subprocess.run(end, check=True, timeout=PATIENCE)
    finally:
        subprocess.run(["umount", "--lazy", STATE], check=True)


@pytest.mark.skipif(not shutil.which("podman"), reason="Podman is not installed")
@pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox is not installed")
def test_forks_in_a_container_of_podman_have_its_name(
    forktrace: Forktrace, tmp_path: Path
) -> None:
    with podmans(tmp_path / "root"):
        wait_until(lambda: of_unit(scrape(PORT), "forks", container="web") > FORKS)
        keep_units(scrape(PORT), "units_of_podman.json")
    assert not any(
        dict(labels)["unit"].startswith("libpod-")
        for name, labels in scrape(PORT)
        if name == "forktrace_unit_forks_total"
    )


MANY = """
mkdir $(seq -f "$0/%g" "$1" "$2")
for number in $(seq "$1" "$2"); do
    echo $$ >"$0/$number/cgroup.procs"
    (:)
done
echo $$ >"$0/cgroup.procs"
exec rmdir $(seq -f "$0/%g" "$1" "$2")
"""
"""Forks once in each of many new cgroups, and removes them."""


def test_cgroups_that_are_gone_make_room_for_others(tmp_path: Path) -> None:
    crowd = CGROUPS / "crowd.service"
    crowd.mkdir()
    command = (sys.executable, "-m", "tests.live.guest.small_costs")
    arguments = ("run", "--listen", f"127.0.0.1:{PORT}")
    running = Forktrace(tmp_path, *arguments, command=command)
    ends = range(BATCH, 4 * PLACES + 1, BATCH)
    try:
        for end in ends:
            span = (str(end - BATCH + 1), str(end))
            many = ("sh", "-c", MANY, str(crowd), *span)
            subprocess.run(many, check=True, timeout=PATIENCE)
            samples = scrape(PORT)
        assert of_unit(samples, "forks", unit="crowd.service") >= ends[-1]
        assert of_unit(samples, "forks", unit="other") == 0
    finally:
        running.kill()
        crowd.rmdir()
