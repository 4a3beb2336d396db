"""The image in a container of a real runtime, with what the DaemonSet gives it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.container import bundle, seccomp
from tests.live.guest.programs import (
    PATIENCE,
    Forktrace,
    Samples,
    keep,
    samples_of,
    wait_until,
)
from tests.live.guest.test_privileges import (
    PACKAGING,
    agreeing,
    paranoid,
    pod,
    read_from,
)

NODE = "node-7"
LOGS = Path("/var/log")
ID, UID = "3f4e1b9a7c01" + "ab" * 26, "8f7e2c1a-55d0-4c1e-9b6f-0d3a5e7c9b11"
"""Of a container and its pod, which the kubelet would run on that node."""

IMAGE = os.environ.get("FORKTRACE_IMAGE", "")
CGROUPS = Path("/sys/fs/cgroup")
NAME = "forktrace"
CRUN = ("crun", "--cgroup-manager=cgroupfs")

FORKS = 23
"""Made by a program of the node while the container watches."""

BITS = {"bpf": 39, "perfmon": 38, "sys_admin": 21}
"""The kernel's numbers of capabilities."""

FILTERED = "2"
"""A process whose system calls a program of seccomp decides about."""

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        not IMAGE, reason=os.environ.get("FORKTRACE_NO_IMAGE", "no image was built")
    ),
]


@dataclass
class Container:
    """The running container, as the node sees it."""

    running: Forktrace
    cgroup: Path

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.cgroup / "cgroup.procs").read_text().split()]

    def first(self) -> int:
        """Return its process 1."""
        told = subprocess.check_output([*CRUN, "state", NAME], timeout=PATIENCE)
        return int(json.loads(told)["pid"])

    def get(self, path: str) -> str:
        """Ask as a probe of Kubernetes would: of the pod's own network."""
        enter = ("nsenter", f"--target={self.first()}", "--net")
        ask = ("curl", "--silent", "--show-error", "--fail")
        return subprocess.check_output(
            [*enter, *ask, f"http://[::1]:19435{path}"], text=True, timeout=PATIENCE
        )

    def metrics(self) -> Samples:
        return samples_of(self.get("/metrics"))


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Run it until its probes are attached; with a kernel as paranoid as Debian's."""
    folder = tmp_path_factory.mktemp("container")
    manifest = yaml.safe_load((PACKAGING / "kubernetes/daemonset.yaml").read_text())
    config = bundle.config(
        manifest["spec"]["template"]["spec"],
        json.loads(Path(IMAGE, "image.json").read_text()),
        Path(IMAGE, "rootfs"),
        NODE,
    )
    # Stricter than the manifest, which asks for no profile: clusters may add this one.
    config["linux"]["seccomp"] = seccomp.rules(
        json.loads(seccomp.PROFILE.read_text()),
        config["process"]["capabilities"]["bounding"],
        "amd64",
    )
    (folder / "config.json").write_text(json.dumps(config))
    run = (*CRUN, "run", f"--bundle={folder}")
    let_cgroups_have_limits()
    with paranoid(3), links_to_logs():
        try:
            running = Forktrace(folder, NAME, command=run)
            (cgroup,) = CGROUPS.glob(f"**/*{NAME}*/cgroup.procs")
            yield Container(running, cgroup.parent)
        finally:
            # crun itself ends with its container.
            end = (*CRUN, "delete", "--force", NAME)
            subprocess.run(end, check=True, timeout=PATIENCE)


@contextmanager
def links_to_logs() -> Iterator[None]:
    """Have a folder for the kubelet's links, which may be made later."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", LOGS], check=True)
    try:
        (LOGS / "containers").mkdir()
        yield
    finally:
        subprocess.run(["umount", "--lazy", LOGS], check=True)


def let_cgroups_have_limits() -> None:
    """For good: crun leaves cgroups above the one it ran in, which have them then."""
    (CGROUPS / "cgroup.subtree_control").write_text("+memory +cpu")


def test_it_has_what_the_manifest_gives_and_no_more(container: Container) -> None:
    granted = sum(1 << BITS[name] for name in pod())
    first = container.first()
    for pid in container.processes():
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert int(status["CapBnd"], 16) == granted
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind], 16) & ~granted == 0
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == FILTERED
    for kind in ("pid", "mnt", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{first}/ns/{kind}") != os.readlink(
            f"/proc/self/ns/{kind}"
        )
    kcore = Path(f"/proc/{first}/root/proc/kcore").stat()
    assert stat.S_ISCHR(kcore.st_mode)
    (root,) = (
        line.split()
        for line in Path(f"/proc/{first}/mountinfo").read_text().splitlines()
        if line.split()[4] == "/"
    )
    assert "ro" in root[5].split(",")


def test_it_counts_the_nodes_forks_under_their_own_names(
    container: Container, tmp_path: Path
) -> None:
    program = shell(tmp_path, "of-the-node")
    subprocess.run([program, "-c", "(:); " * FORKS], check=True, timeout=PATIENCE)
    assert container.get("/healthz")
    forks = frozenset({("comm", "of-the-node")})
    assert container.metrics()["forktrace_process_forks_total", forks] == FORKS


@contextmanager
def pod_of_the_node(folder: Path) -> Iterator[None]:
    """Run a container that forks, as containerd and the kubelet would for a pod."""
    (folder / "config.json").write_text(
        json.dumps(
            {
                "ociVersion": "1.0.2",
                "root": {"path": str(Path(IMAGE, "rootfs")), "readonly": True},
                "process": {
                    "user": {"uid": 0, "gid": 0},
                    "args": ["sh", "-c", "while sleep 0.1; do (:); done"],
                    "env": ["PATH=/usr/bin:/bin"],
                    "cwd": "/",
                },
                "mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                ],
                "linux": {
                    "cgroupsPath": f"/kubepods/burstable/pod{UID}/{ID}",
                    "namespaces": [{"type": kind} for kind in ("mount", "pid")],
                },
            }
        )
    )
    link = LOGS / f"containers/cart-0_shop_redis-{ID}.log"
    link.symlink_to(f"/var/log/pods/shop_cart-0_{UID}/redis/0.log")
    run = (*CRUN, "run", "--detach", f"--bundle={folder}", ID)
    subprocess.run(run, check=True, timeout=PATIENCE)
    try:
        yield
    finally:
        end = (*CRUN, "delete", "--force", ID)
        subprocess.run(end, check=True, timeout=PATIENCE)


def test_it_names_the_node_and_whose_forks_they_are(
    container: Container, tmp_path: Path
) -> None:
    (info,) = (
        dict(labels)
        for name, labels in container.metrics()
        if name == "forktrace_kernel_info"
    )
    assert info["node"] == NODE
    redis = {"unit": "", "namespace": "shop", "pod": "cart-0", "container": "redis"}
    key = ("forktrace_unit_forks_total", frozenset(redis.items()))
    with pod_of_the_node(tmp_path):
        wait_until(lambda: container.metrics().get(key, 0) > FORKS)
    seen = re.findall(r"^forktrace_unit_f.*", container.get("/metrics"), re.MULTILINE)
    keep("container_units.txt", "\n".join(seen))


def test_it_observes_what_the_kernel_decides(
    container: Container, tmp_path: Path
) -> None:
    # It looks for some seconds at first, and for one in each minute: where the machine
    # is slow, the forks above came in between.
    program = shell(tmp_path, "now-and-then")
    forking = subprocess.Popen([program, "-c", "while sleep 0.1; do (:); done"])
    try:
        wait_until(lambda: agreeing(container.metrics()))
    finally:
        forking.kill()
        forking.wait(PATIENCE)
    samples = container.metrics()
    told = checks(samples)
    keep("container_checks.json", json.dumps(told))
    assert told["branch agree"] + told["return agree"] > FORKS
    assert {
        what for what, count in told.items() if count and "disagree" in what
    } == set()
    assert read_from(samples) == "code"


def shell(folder: Path, name: str) -> Path:
    """Return a shell that the kernel knows by this name."""
    return Path(shutil.copy("/bin/dash", folder / name))


def checks(samples: Samples) -> dict[str, float]:
    """Return the counts of forktrace_decision_checks_total by source and result."""
    return {
        "{source} {result}".format(**dict(labels)): value
        for (name, labels), value in samples.items()
        if name == "forktrace_decision_checks_total"
    }


def test_its_limit_of_memory_is_enough(container: Container) -> None:
    told = {
        name: (container.cgroup / f"memory.{name}").read_text()
        for name in ("events", "peak", "stat", "max")
    }
    keep("container_memory.json", json.dumps(told))
    assert "oom_kill 0" in told["events"].splitlines()
    assert told["max"].strip() != "max"


def test_it_ends_in_order_when_the_pod_is_deleted(container: Container) -> None:
    subprocess.run([*CRUN, "kill", NAME, "TERM"], timeout=PATIENCE, check=True)
    wait_until(container.running.ended)
    assert container.running.stop() == 0, container.running.errors()
