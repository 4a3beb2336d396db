"""What goes into the image, and when this machine cannot build one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.container import image
from tests.container.image import CannotBuild


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that could, whatever this one is."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(image, "is_hidden", lambda _: False)
    monkeypatch.setenv("FORKTRACE_CACHE", str(tmp_path))


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small one in place of this."""
    top = tmp_path / "repository"
    (top / "code/__pycache__").mkdir(parents=True)
    (top / "code/module.py").write_text("one")
    (top / "code/__pycache__/module.pyc").write_text("compiled")
    (top / "other").mkdir()
    (top / "other/large").write_text("not asked for")
    (top / "LICENSE").write_text("free")
    (top / "Dockerfile").write_text("FROM scratch")
    (top / "Dockerfile.dockerignore").write_text("# why\n*\n!code\n!LICENSE\n")
    monkeypatch.setattr(image, "REPOSITORY", top)
    monkeypatch.setattr(image, "DOCKERFILE", top / "Dockerfile")
    return top


def test_the_real_image_has_the_code_and_none_of_the_tests() -> None:
    tops = {file.parts[0] for file in image.context()}
    assert {"bpf", "forktrace", "pyproject.toml"} <= tops
    assert not {"tests", "dashboards", ".venv"} & tops


@pytest.mark.usefixtures("repository")
def test_only_what_the_dockerfile_is_given_goes_in() -> None:
    assert image.context() == [Path("LICENSE"), Path("code/module.py")]


@pytest.mark.parametrize("changed", ["code/module.py", "LICENSE", "Dockerfile"])
def test_another_file_makes_another_image(repository: Path, changed: str) -> None:
    before = image.digest()
    (repository / changed).write_text("two")
    assert image.digest() != before


@pytest.mark.parametrize("changed", ["other/large", "code/__pycache__/module.pyc"])
def test_what_does_not_go_in_makes_no_difference(
    repository: Path, changed: str
) -> None:
    before = image.digest()
    (repository / changed).write_text("two")
    assert image.digest() == before


def test_an_image_is_built_once_and_kept_while_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        folder.mkdir()

    monkeypatch.setattr(image, "_make", build)
    assert image.image() == image.image()
    assert len(built) == 1


def test_images_that_nobody_uses_any_more_make_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image, "_make", Path.mkdir)
    monkeypatch.setattr(image, "KEPT_SECONDS", -1)
    old = tmp_path / "images/old"
    old.mkdir(parents=True)
    image.image()
    assert not old.exists()


def test_without_a_tool_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "crun" else name)
    with pytest.raises(CannotBuild, match="no crun") as raised:
        image.image()
    assert raised.value.advice == "apt-get install crun"


def test_only_root_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 1000)
    with pytest.raises(CannotBuild, match="root"):
        image.image()
