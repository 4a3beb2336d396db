"""How a root of another architecture is put together, from packages made here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest

from tests.lab import roots
from tests.lab.apt import Apt
from tests.lab.errors import LabError

CONTROL = """Package: {name}
Version: 1
Architecture: arm64
Maintainer: none <none@example.org>
Description: made by a test
"""


class FakeApt:
    """Has one package, with a program in it."""

    def __init__(self, broken: bool = False) -> None:
        self._broken = broken

    def download_all(self, names: Iterable[str], folder: Path) -> list[Path]:
        package = folder / "dash.deb"
        if self._broken:
            package.write_text("not a package")
            return [package]
        tree = folder / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(CONTROL.format(name="dash"))
        (tree / "usr/bin").mkdir(parents=True)
        (tree / "usr/bin/dash").write_text("a shell")
        (tree / "etc").mkdir()
        command = ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(package)]
        subprocess.run(command, check=True, capture_output=True)
        return [package]


needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb")


@needs_dpkg
def test_programs_are_found_by_the_names_that_an_installation_gives_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "roots/arm64"
    roots._make(cast(Apt, FakeApt()), folder)
    assert (folder / "bin/sh").read_text() == "a shell"
    assert (folder / "etc/passwd").read_text().startswith("root:x:0:0:")
    assert list(folder.parent.iterdir()) == [folder]


@needs_dpkg
def test_nothing_is_kept_of_a_root_that_could_not_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "roots/arm64"
    with pytest.raises(LabError, match=r"dash\.deb"):
        roots._make(cast(Apt, FakeApt(broken=True)), folder)
    assert list(folder.parent.iterdir()) == []
