"""What paths of cgroups say, as each runtime and systemd make them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forktrace.cgroups.place import Place, place_of

ID = "3f4e1b" + "0123456789abcdef" * 3 + "fedcba9876"
OTHER_ID = "a" * 64
UID = "8f7e2c1a-55d0-4c1e-9b6f-0d3a5e7c9b11"
UNDERSCORED = UID.replace("-", "_")
STATIC_UID = "0123456789abcdef0123456789abcdef"
KUBEPODS = "/kubepods.slice/kubepods-burstable.slice"
SLICE = f"kubepods-burstable-pod{UNDERSCORED}.slice"
USER = "/user.slice/user-1000.slice"
MANAGER = f"{USER}/user@1000.service"

UNITS = {
    "/": "/",
    "": "/",
    "/init.scope": "init.scope",
    "/system.slice/redis-server.service": "redis-server.service",
    "/system.slice/redis-server.service/worker/1": "redis-server.service",
    "/system.slice/system-getty.slice/getty@tty1.service": "getty@tty1.service",
    r"/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev-sd\x2da.service": (
        r"systemd-fsck@dev-sd\x2da.service"
    ),
    "/system.slice/var-lib-docker.mount": "var-lib-docker.mount",
    "/system.slice/dbus.socket": "dbus.socket",
    "/system.slice/_cpu.service": "cpu.service",
    f"{USER}/session-3.scope": "user-1000.slice",
    f"{USER}/session-c12.scope": "user-1000.slice",
    f"{MANAGER}/init.scope": "user@1000.service",
    f"{MANAGER}/app.slice/firefox.service": "firefox.service",
    f"{MANAGER}/app.slice/a.service/b.service": "a.service",
    f"{MANAGER}/app.slice": "user@1000.service",
    "/system.slice/containerd.service/init.scope": "containerd.service",
    "/system.slice": "system.slice",
    "/machine.slice/machine-a.slice": "machine-a.slice",
    "/jobs/nightly/3": "nightly/3",
    "/jobs": "jobs",
    f"/system.slice/x-{'a' * 63}.service": f"x-{'a' * 63}.service",
}


@pytest.mark.parametrize("path", UNITS)
def test_a_unit(path: str) -> None:
    assert place_of(path) == Place(UNITS[path])


CONTAINERS = {
    f"/system.slice/docker-{ID}.scope": Place("", ID),
    f"/docker/{ID}": Place("", ID),
    f"/docker/{ID}/docker/{OTHER_ID}": Place("", ID),
    f"/system.slice/docker-{ID}.scope/system.slice/nginx.service": Place("", ID),
    f"/machine.slice/libpod-{ID}.scope/container": Place("", ID),
    f"/machine.slice/libpod-conmon-{ID}.scope": Place("", ID),
    f"/libpod_parent/libpod-{ID}": Place("", ID),
    f"{MANAGER}/user.slice/libpod-{ID}.scope/container": Place("user@1000.service", ID),
    f"/system.slice/web.service/libpod-payload-{ID}": Place("web.service", ID),
    f"/system.slice/nerdctl-{ID}.scope": Place("", ID),
    f"{KUBEPODS}/{SLICE}/cri-containerd-{ID}.scope": Place("", ID, UID),
    f"{KUBEPODS}/{SLICE}/cri-containerd-{ID}.scope/a/b": Place("", ID, UID),
    f"{KUBEPODS}/{SLICE}/crio-{ID}.scope": Place("", ID, UID),
    f"{KUBEPODS}/{SLICE}/crio-conmon-{ID}.scope": Place("", ID, UID),
    f"{KUBEPODS}/{SLICE}": Place("", "", UID),
    f"/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-{ID}.scope": (
        Place("", ID, UID)
    ),
    f"/kubepods/burstable/pod{UID}/{ID}": Place("", ID, UID),
    f"/kubepods/pod{UID}/crio-{ID}": Place("", ID, UID),
    f"/kubepods/burstable/pod{STATIC_UID}/{ID}": Place("", ID, STATIC_UID),
    f"/system.slice/containerd.service/{SLICE}:cri-containerd:{ID}": (
        Place("containerd.service", ID, UID)
    ),
    f"/{SLICE}:cri-containerd:{ID}": Place("", ID, UID),
    f"/kubelet.slice/kubelet-{SLICE}/cri-containerd-{ID}.scope": Place("", ID, UID),
    "/lxc.payload.mail": Place("", "mail"),
    "/lxc.payload.mail/system.slice/postfix.service": Place("", "mail"),
    "/lxc.monitor.mail": Place("", "mail"),
    r"/machine.slice/machine-build\x2droot.scope/payload/init.scope": (
        Place("", "build-root")
    ),
    r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt": Place("", "qemu-1-vm"),
    "/system.slice/crun-forktrace.scope": Place("", "forktrace"),
}


@pytest.mark.parametrize("path", CONTAINERS)
def test_a_container(path: str) -> None:
    assert place_of(path) == CONTAINERS[path]


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice/redis-server.service",
        f"{MANAGER}/app.slice/firefox.service",
        f"{USER}/session-3.scope",
        f"{KUBEPODS}/{SLICE}/cri-containerd-{ID}.scope",
        f"/kubepods/burstable/pod{UID}/{ID}",
        f"/machine.slice/libpod-{ID}.scope/container",
        f"/system.slice/web.service/libpod-payload-{ID}",
        "/init.scope",
        "/jobs/nightly/3",
    ],
)
def test_the_last_two_parts_say_the_same(path: str) -> None:
    assert place_of("/".join(path.split("/")[-2:])) == place_of(path)


@given(st.text())
def test_any_path_is_some_place(path: str) -> None:
    place = place_of(path)
    assert place.unit or place.container or place.pod_uid
