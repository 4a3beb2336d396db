"""The DaemonSet is one that Kubernetes takes, and asks for no more than it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FILE = Path(__file__).parents[3] / "packaging/kubernetes/daemonset.yaml"


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load(FILE.read_text())


def test_it_holds_against_kubernetes_own_schema(manifest: Any) -> None:
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifest, newest, strict=True)


def test_a_misspelt_field_would_be_noticed(manifest: Any) -> None:
    manifest["spec"]["template"]["spec"]["containers"][0]["securityContexts"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            manifest, kubernetes_validate.latest_version(), strict=True
        )


def test_it_is_not_privileged_and_drops_what_it_does_not_add(manifest: Any) -> None:
    spec = manifest["spec"]["template"]["spec"]
    assert not {"hostPID", "hostNetwork", "hostIPC"} & spec.keys()
    security = spec["containers"][0]["securityContext"]
    assert "privileged" not in security
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["readOnlyRootFilesystem"] is True


def test_what_it_mounts_of_the_node_it_cannot_write(manifest: Any) -> None:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
