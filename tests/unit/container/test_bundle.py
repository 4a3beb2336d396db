"""What the manifest says is in the bundle, and nothing that it does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.container import bundle

FILE = Path(__file__).parents[3] / "packaging/kubernetes/daemonset.yaml"
IMAGE = {"Entrypoint": ["/bin/program"], "Env": ["PATH=/bin"]}
ROOTFS = Path("/image")


@pytest.fixture
def pod() -> Any:
    return yaml.safe_load(FILE.read_text())["spec"]["template"]["spec"]


def made(pod: Any) -> Any:
    return bundle.config(pod, IMAGE, ROOTFS, "node-7")


def namespaces(pod: Any) -> set[str]:
    return {each["type"] for each in made(pod)["linux"]["namespaces"]}


def test_it_runs_the_images_program_with_the_manifests_arguments(pod: Any) -> None:
    process = made(pod)["process"]
    assert process["args"] == ["/bin/program", "run", "--listen", "[::]:19435"]
    assert process["env"] == [*IMAGE["Env"], "NODE_NAME=node-7"]
    assert process["user"] == {"uid": 0, "gid": 0}


def test_it_has_the_capabilities_that_are_added_alone(pod: Any) -> None:
    names = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"]
    process = made(pod)["process"]
    assert process["capabilities"] == dict.fromkeys(
        ("bounding", "effective", "permitted"), names
    )
    assert process["noNewPrivileges"] is True


def test_what_a_runtime_adds_by_itself_is_not_guessed(pod: Any) -> None:
    pod["containers"][0]["securityContext"]["capabilities"]["drop"] = []
    with pytest.raises(ValueError, match="by itself"):
        made(pod)


def test_it_has_a_root_that_cannot_be_written_and_no_kcore(pod: Any) -> None:
    config = made(pod)
    assert config["root"] == {"path": "/image", "readonly": True}
    assert "/proc/kcore" in config["linux"]["maskedPaths"]


def test_its_limits_are_the_manifests(pod: Any) -> None:
    resources = made(pod)["linux"]["resources"]
    assert resources["memory"] == {"limit": 256 * 1024 * 1024}
    assert resources["cpu"] == {"shares": 10}


def test_namespaces_are_its_own_unless_the_manifest_asks_for_the_nodes(
    pod: Any,
) -> None:
    own = {"mount", "uts", "cgroup", "network", "pid", "ipc"}
    assert namespaces(pod) == own
    assert namespaces({**pod, "hostPID": True}) == own - {"pid"}


@pytest.mark.parametrize("field", ["volumeDevices", "envFrom", "command"])
def test_a_field_of_the_container_that_it_does_not_know_is_refused(
    pod: Any, field: str
) -> None:
    pod["containers"][0][field] = []
    with pytest.raises(ValueError, match=field):
        made(pod)


def test_a_field_of_the_pod_that_it_does_not_know_is_refused(pod: Any) -> None:
    pod["securityContext"] = {"runAsUser": 0}
    with pytest.raises(ValueError, match="securityContext"):
        made(pod)


def test_it_sees_of_the_node_what_the_manifest_mounts_and_can_write_nothing(
    pod: Any,
) -> None:
    mounts = {each["destination"]: each for each in made(pod)["mounts"]}
    assert len(mounts) == len(made(pod)["mounts"])
    bound = {place for place, each in mounts.items() if each["type"] == "bind"}
    assert bound == {"/sys/fs/cgroup", "/var/log/containers"}
    for place in bound:
        assert mounts[place]["source"] == place
        assert mounts[place]["options"] == ["rbind", "rprivate", "ro"]


@pytest.mark.parametrize(
    ("part", "field"), [("volumeMounts", "subPath"), ("env", "value")]
)
def test_a_field_of_a_mount_or_variable_that_it_does_not_know_is_refused(
    pod: Any, part: str, field: str
) -> None:
    pod["containers"][0][part][0][field] = "x"
    with pytest.raises(ValueError, match=field):
        made(pod)


@pytest.mark.parametrize(
    ("text", "number"), [("2", 2), ("10m", 0.01), ("3Ki", 3072), ("1Gi", 2**30)]
)
def test_quantities_are_those_of_kubernetes(text: str, number: float) -> None:
    assert bundle.quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "Mi", "1.5", "4Q"])
def test_other_quantities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        bundle.quantity(text)
