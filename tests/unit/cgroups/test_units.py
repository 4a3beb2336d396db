"""The names of units, pods and containers, from what each runtime leaves on a host."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from forktrace.cgroups import units
from forktrace.cgroups.containers import Names
from forktrace.cgroups.units import Cgroup, Unit
from tests.unit.cgroups.hosts import ID, OTHER_ID, POD, STORAGE, UID, Host, hidden
from tests.unit.clocks import StoppedClock

SHORT = ID[:12]
CRI = f"{POD}/cri-containerd-{ID}.scope"
CRIO = f"{POD}/crio-{ID}.scope"
CART = Unit("", "shop", "cart-0", "redis")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_unit_of_systemd(host: Host) -> None:
    path = "/system.slice/redis-server.service"
    assert host.unit(path) == Unit("redis-server.service")
    assert host.unit("/init.scope") == Unit("init.scope")
    assert host.unit("/") == Unit("/")


def docker(host: Host) -> None:
    host.put(f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": "/web"})


def containerd(host: Host) -> None:
    annotations = {
        "io.kubernetes.cri.container-name": "redis",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": OTHER_ID,
        "io.kubernetes.cri.sandbox-name": "cart-0",
        "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-uid": UID,
    }
    host.put(
        f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json",
        {"ociVersion": "1.1.0", "process": {}, "annotations": annotations},
    )


def containerds_sandbox(host: Host) -> None:
    annotations = {
        "io.kubernetes.cri.container-type": "sandbox",
        "io.kubernetes.cri.sandbox-name": "cart-0",
        "io.kubernetes.cri.sandbox-namespace": "shop",
    }
    host.put(
        f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json",
        {"annotations": annotations},
    )


def crio(host: Host) -> None:
    annotations = {
        "io.container.manager": "cri-o",
        "io.kubernetes.container.name": "redis",
        "io.kubernetes.pod.name": "cart-0",
        "io.kubernetes.pod.namespace": "shop",
    }
    host.put(f"run/{STORAGE}/{ID}/userdata/config.json", {"annotations": annotations})


def podman(host: Host) -> None:
    # Its annotations say nothing of the name.
    annotations = {"io.container.manager": "libpod", "org.opencontainers.image": ""}
    host.put(
        f"var/lib/{STORAGE}/{ID}/userdata/config.json", {"annotations": annotations}
    )
    others = {"id": OTHER_ID, "names": ["db"], "image": OTHER_ID}
    ours = {"id": ID, "names": ["web"], "image": OTHER_ID}
    host.put(f"var/lib/{STORAGE}/containers.json", [others, ours])


def kubelet(host: Host) -> None:
    host.log("cart-0", "shop", UID, "redis", ID)


NAMED: list[tuple[Callable[[Host], None], str, Unit]] = [
    (docker, f"/system.slice/docker-{ID}.scope", Unit(container="web")),
    (docker, f"/docker/{ID}", Unit(container="web")),
    (podman, f"/machine.slice/libpod-{ID}.scope/container", Unit(container="web")),
    (podman, f"/libpod_parent/libpod-{ID}", Unit(container="web")),
    (
        podman,
        f"/system.slice/web.service/libpod-payload-{ID}",
        Unit("web.service", container="web"),
    ),
    (containerd, CRI, CART),
    (containerd, f"/kubepods/burstable/pod{UID}/{ID}", CART),
    (containerds_sandbox, CRI, Unit("", "shop", "cart-0", "POD")),
    (crio, CRIO, CART),
    (kubelet, CRI, CART),
    (kubelet, CRIO, CART),
    (kubelet, f"/kubepods/burstable/pod{UID}/{ID}", CART),
]


@pytest.mark.parametrize(("runtime", "path", "unit"), NAMED)
def test_a_container_has_the_name_that_its_runtime_keeps(
    host: Host, runtime: Callable[[Host], None], path: str, unit: Unit
) -> None:
    for number in (OTHER_ID, ID[:-1] + "0"):
        # Others' files do not matter.
        host.put(f"var/lib/docker/containers/{number}/config.v2.json", {"Name": "/no"})
        host.log("other", "shop", "b" * 32, "redis", number)
    runtime(host)
    assert host.unit(path) == unit


@pytest.mark.parametrize(("runtime", "path", "unit"), NAMED)
def test_the_last_two_names_do_where_no_cgroup_is_to_be_seen(
    host: Host, runtime: Callable[[Host], None], path: str, unit: Unit
) -> None:
    runtime(host)
    assert host.names.units([hidden(path)]) == [unit]


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (f"/system.slice/docker-{ID}.scope", Unit(container=SHORT)),
        (f"/machine.slice/libpod-{ID}.scope/container", Unit(container=SHORT)),
        (CRI, Unit(pod=UID, container=SHORT)),
        (POD, Unit(pod=UID)),
        ("/lxc.payload.mail/init.scope", Unit(container="mail")),
        (r"/machine.slice/machine-a\x2db.scope/payload", Unit(container="a-b")),
        ("/system.slice/crun-forktrace.scope", Unit(container="forktrace")),
    ],
)
def test_without_any_files_of_a_runtime_the_cgroup_still_tells(
    host: Host, path: str, unit: Unit
) -> None:
    assert host.unit(path) == unit


def test_the_pod_is_known_by_logs_of_its_other_containers(host: Host) -> None:
    host.log("cart-0", "shop", UID, "redis", OTHER_ID)
    assert host.unit(CRI) == Unit("", "shop", "cart-0", SHORT)
    assert host.unit(POD) == Unit("", "shop", "cart-0")


def test_links_to_logs_are_enough_where_the_logs_are_not_to_be_seen(
    host: Host,
) -> None:
    host.log("cart-0", "shop", UID, "redis", OTHER_ID)
    (host.root / "var/log/pods").rename(host.root / "elsewhere")
    assert host.unit(POD) == Unit("", "shop", "cart-0")


def test_bare_crun_names_its_cgroup_as_its_container(host: Host) -> None:
    assert host.unit("/mine") == Unit("mine")
    host.put("run/crun/yours/status", {"pid": 23, "cgroup-path": "/yours"})
    assert host.unit("/yours") == Unit(container="yours")


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "null",
        "[]",
        "[null, 3]",
        '{"annotations": [], "Name": 3, "names": {}}',
        '[{"id": 3, "names": "web"}, {"names": []}]',
        "[" * 100_000,
        b"\xff\xfe\0",
        '{"Name": "' + "x" * (5 << 20) + '"}',
    ],
    ids=range(10),
)
def test_broken_files_say_nothing(host: Host, broken: str | bytes) -> None:
    for file in (
        f"run/containerd/io.containerd.runtime.v2.task/moby/{ID}/config.json",
        f"run/{STORAGE}/{ID}/userdata/config.json",
        f"var/lib/{STORAGE}/{ID}/userdata/config.json",
        f"var/lib/{STORAGE}/containers.json",
        f"var/lib/docker/containers/{ID}/config.v2.json",
        "run/crun/bare/status",
    ):
        host.put(file, broken)
    assert host.unit(f"/docker/{ID}") == Unit(container=SHORT)
    assert host.unit("/bare") == Unit("bare")


def test_files_of_another_kind_are_neither_followed_nor_waited_for(host: Host) -> None:
    folder = host.root / f"var/lib/docker/containers/{ID}"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "config.v2.json")
    (host.root / f"var/lib/{STORAGE}/containers.json").mkdir(parents=True)
    assert host.unit(f"/docker/{ID}") == Unit(container=SHORT)


def test_every_name_can_be_a_label(host: Host) -> None:
    host.put(
        f"var/lib/docker/containers/{ID}/config.v2.json", r'{"Name": "/\ud800\"\n"}'
    )
    shown = [host.unit(f"/docker/{ID}"), host.unit("/odd\udcff.service")]
    for name in "".join(name for unit in shown for name in unit):
        name.encode()


def test_a_unit_in_a_container_is_the_containers(host: Host) -> None:
    docker(host)
    path = f"/system.slice/docker-{ID}.scope/system.slice/nginx.service"
    assert host.unit(path) == Unit(container="web")


def test_a_forktrace_that_sees_only_its_own_cgroups_is_not_misled(host: Host) -> None:
    own = host.cgroup("/")
    name, parent = f"cri-containerd-{ID}.scope", POD.rsplit("/", 1)[1]
    assert host.names.units([Cgroup(own.number, name, parent)]) == [
        Unit(pod=UID, container=SHORT)
    ]


def test_a_name_that_the_kernel_side_cut_is_whole_in_the_path(host: Host) -> None:
    host.log("cart-0", "shop", UID, "redis", ID)
    name = f"kubepods-besteffort-pod{UID.replace('-', '_')}.slice:cri-containerd:{ID}"
    told = host.cgroup(f"/{name}")
    assert host.names.units([told._replace(name=name[:127])]) == [CART]
    other = host.cgroup(f"/{name[:-1]}0")
    assert host.names.units([other._replace(name=f"x{name[1:127]}")]) != [CART]


def test_a_container_that_just_starts_gets_its_name_soon(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoppedClock(monkeypatch, units)
    assert host.unit(CRI) == Unit(pod=UID, container=SHORT)
    kubelet(host)
    assert host.unit(CRI) == Unit(pod=UID, container=SHORT)
    clock.now += 2
    assert host.unit(CRI) == CART


def test_what_has_a_name_keeps_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StoppedClock(monkeypatch, units)
    docker(host)
    path = f"/docker/{ID}"
    assert host.unit(path) == Unit(container="web")
    host.put(f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": "/new"})
    clock.now += 10_000
    assert host.unit(path) == Unit(container="web")


def test_what_never_gets_a_name_is_looked_for_ever_more_rarely(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, looks = StoppedClock(monkeypatch, units), 0

    def look(number: str, root: Path) -> None:
        nonlocal looks
        looks += 1

    monkeypatch.setattr(units, "runtimes_names", look)
    for _ in range(3600):
        host.unit(f"/docker/{ID}")
        clock.now += 1
    assert looks == pytest.approx(13, abs=2)


def test_many_new_ones_are_looked_for_a_few_at_a_time(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoppedClock(monkeypatch, units)
    docker(host)
    looked: list[str] = []

    def slow(number: str, root: Path) -> Names:
        looked.append(number)
        clock.now += 0.001
        return Names(container="found")

    monkeypatch.setattr(units, "runtimes_names", slow)
    crowd = [host.cgroup(f"/docker/{number:064x}") for number in range(10)]
    rounds = 0
    while len(set(host.names.units(crowd))) > 1:
        rounds += 1
        assert len(looked) <= 4 * rounds
        assert rounds < 10
    assert len(looked) == len(crowd)
