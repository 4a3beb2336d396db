"""Which package is a series' newest kernel, and what of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.architectures import AMD64, ARM64, architecture_of
from tests.lab.errors import LabError
from tests.lab.kernels import extra_kernels, find_kernel, kept_name, newest_packages


def test_versions_are_compared_as_numbers() -> None:
    names = [f"linux-image-6.12.{n}+deb13-cloud-amd64" for n in (94, 117, 100)]
    assert newest_packages(names) == {"6.12": names[1]}


def test_a_binary_package_wins_over_the_image_package_without_an_image() -> None:
    names = [
        "linux-binary-7.3.4+deb13-cloud-amd64",
        "linux-image-7.3.4+deb13-cloud-amd64",
    ]
    assert newest_packages(names) == {"7.3": names[0]}


def test_an_unsigned_image_is_taken_only_where_there_is_no_signed_one() -> None:
    signed = "linux-image-6.1.0-56-cloud-amd64"
    newer = "linux-image-6.1.0-57-cloud-amd64-unsigned"
    assert newest_packages([signed, f"{signed}-unsigned"]) == {"6.1": signed}
    assert newest_packages([signed, newer]) == {"6.1": newer}


def test_a_backport_of_a_series_is_older_than_the_series_itself() -> None:
    names = ["linux-image-6.1.0-0.deb11.52-cloud-amd64"]
    names.append("linux-image-6.1.0-9-cloud-amd64")
    assert newest_packages(names) == {"6.1": names[1]}


def test_each_flavour_has_its_name_and_series_come_in_order() -> None:
    names = [
        "linux-binary-7.3.4+deb13-rt-amd64",
        "linux-binary-7.3.4+deb13-amd64",
        "linux-binary-7.3.4+deb13-cloud-amd64",
        "linux-image-5.10.0-46-cloud-amd64",
    ]
    assert list(newest_packages(names)) == ["5.10", "7.3", "7.3-generic", "7.3-rt"]


def test_kernels_of_another_architecture_say_so_in_their_names() -> None:
    names = [
        "linux-binary-7.3.4+deb13-cloud-arm64",
        "linux-binary-7.3.4+deb13-arm64",
        "linux-binary-7.3.4+deb13-arm64-16k",
        "linux-binary-7.3.4+deb13-cloud-amd64",
        "linux-image-6.12.117+deb13-cloud-arm64-unsigned",
    ]
    found = newest_packages(names, ARM64)
    assert found == {
        "6.12-arm64": names[4],
        "7.3-arm64": names[0],
        "7.3-arm64-16k": names[2],
        "7.3-arm64-generic": names[1],
    }
    assert {architecture_of(name) for name in found} == {ARM64}
    assert architecture_of("7.3-rt") is AMD64


@pytest.mark.parametrize(
    "name",
    [
        "linux-image-6.1-cloud-amd64",
        "linux-image-6.1.0-56-cloud-amd64-dbg",
        "linux-image-6.1.0-56-cloud-arm64",
        "linux-headers-6.1.0-56-cloud-amd64",
    ],
)
def test_packages_without_an_image_for_this_machine_are_ignored(name: str) -> None:
    assert newest_packages([name]) == {}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("./boot/vmlinuz-6.1.0-56-cloud-amd64", "vmlinuz"),
        ("./boot/config-6.1.0-56-cloud-amd64", "config"),
        ("./usr/lib/modules/7.3.4+deb13-amd64/vmlinuz", "vmlinuz"),
        ("./usr/lib/modules/7.3.4+deb13-amd64/System.map", "System.map"),
        ("./lib/modules/6.1.0-56/kernel/fs/fuse/virtiofs.ko", "virtiofs.ko"),
        ("./lib/modules/6.1.0-56/kernel/fs/fuse/fuse.ko.xz", "fuse.ko"),
        ("./lib/modules/6.1.0-56/kernel/fs/fuse/cuse.ko", ""),
        ("./usr/share/doc/linux-image/copyright", ""),
    ],
)
def test_only_what_a_guest_needs_is_kept(path: str, name: str) -> None:
    assert kept_name(path) == name


def test_a_folder_of_extra_kernels_names_them_by_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vmlinuz-7.3.4-symbol").touch()
    (tmp_path / "config-7.3.4").touch()
    monkeypatch.setenv("FORKTRACE_EXTRA_KERNELS", str(tmp_path))
    assert list(extra_kernels()) == ["7.3.4-symbol"]
    assert find_kernel("7.3.4-symbol").image == tmp_path / "vmlinuz-7.3.4-symbol"


def test_no_folder_means_no_extra_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORKTRACE_EXTRA_KERNELS", raising=False)
    assert extra_kernels() == {}


def test_a_kernel_by_path_must_exist(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz-mine"
    with pytest.raises(LabError, match="no kernel image"):
        find_kernel(str(image))
    image.touch()
    assert find_kernel(str(image)).name == "mine"
