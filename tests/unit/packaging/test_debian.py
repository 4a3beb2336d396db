"""Debian's packages ask for what pyproject.toml does; their parts name one path."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from forktrace.tracer import kept

ROOT = Path(__file__).parents[3]
DEBIAN = ROOT / "packaging/debian"

_RELATIONS = {">=": ">=", "<<": "<"}
_FROM_THE_DISTRIBUTION = {"bpfcc"}
"""What is not on PyPI under its name (pyproject.toml says so)."""


def read(name: str) -> str:
    return (DEBIAN / name).read_text()


def wanted() -> dict[str, SpecifierSet]:
    """Return what pyproject.toml asks for."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^dependencies = (\[.*?^\])", text, re.MULTILINE | re.DOTALL)
    assert found
    listed = [Requirement(each) for each in ast.literal_eval(found[1])]
    return {each.name.lower(): each.specifier for each in listed}


def asked(text: str) -> dict[str, SpecifierSet]:
    """Return the Python packages of relationship fields, without ``python3-``."""
    found: dict[str, SpecifierSet] = {}
    for name, relation, version in re.findall(
        r"\bpython3-([a-z0-9-]+)(?: \((\S+) ([\d.]+)~?\))?", text
    ):
        bound = SpecifierSet(f"{_RELATIONS[relation]}{version}" if relation else "")
        found[name] = found.get(name, SpecifierSet()) & bound
    # Debian calls it by the name that Python does.
    return {"pyyaml" if name == "yaml" else name: each for name, each in found.items()}


def of_both() -> dict[str, SpecifierSet]:
    """Return what the packages of every release ask for."""
    package = read("control").partition("\nPackage:")[2]
    return asked(package.replace("${python3:Depends}", ""))


def depends() -> tuple[str, str]:
    """Return what Debian 12's package asks for besides, and what Debian 13's does."""
    first, second = re.findall(
        r"^depends = ((?:.*\\\n)*.*)$", read("rules"), re.MULTILINE
    )
    return first, second


def carried() -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==(\S+) --hash", read("carried.txt"), re.MULTILINE))


def test_from_debian_13_on_all_is_the_distributions() -> None:
    found = {**of_both(), **asked(depends()[1])}
    assert found.keys() == wanted().keys() | _FROM_THE_DISTRIBUTION
    assert {name: found[name] for name in wanted()} == wanted()


def test_debian_12_has_the_rest_in_its_package() -> None:
    found = of_both()
    assert found.keys() | carried().keys() == wanted().keys() | _FROM_THE_DISTRIBUTION
    assert not found.keys() & carried().keys()
    assert not asked(depends()[0]).keys() & carried().keys()
    for name, version in carried().items():
        assert version in wanted()[name], name


def test_the_set_up_installs_what_the_build_needs() -> None:
    needed = read("control").partition("Build-Depends:")[2].partition("\nStandards")[0]
    setup = (ROOT / "packaging/setup.sh").read_text()
    for package in re.findall(r"^ *([a-z0-9-]+)", needed, re.MULTILINE):
        name = package.removesuffix("-compat")
        assert re.search(rf"[ \"]{name}[\s\"]", setup), name


@pytest.mark.parametrize(
    "name", ["forktrace.install", "forktrace.docs", "forktrace.manpages"]
)
def test_what_is_installed_is_there(name: str) -> None:
    for line in read(name).splitlines():
        source = line.split()[0].replace("debian/", "packaging/debian/", 1)
        if not source.startswith("packaging/debian/built/"):
            assert list(ROOT.glob(source)), source


def test_the_command_imports_from_where_forktrace_is_installed() -> None:
    folder = re.search(r'insert\(0, "/(.*)"\)', read("bin/forktrace"))
    assert folder
    assert f"\nforktrace {folder[1]}\n" in read("forktrace.install")
    assert f"\npython = debian/forktrace/{folder[1]}\n" in read("rules")


def test_the_service_starts_that_command_with_the_options_of_the_conffile() -> None:
    unit = (ROOT / "packaging/systemd/forktrace.service").read_text()
    start = re.search(r"^ExecStart=(\S+) run \$(\w+)$", unit, re.MULTILINE)
    assert start
    assert start[1] == "/usr/local/bin/forktrace"
    assert "'s,/usr/local/bin/,/usr/bin/,'" in read("rules")
    assert "debian/bin/forktrace usr/bin\n" in read("forktrace.install")
    assert f"\n{start[2]}=" in read("forktrace.default")
    # debhelper installs forktrace.default there.
    assert "\nEnvironmentFile=-/etc/default/forktrace\n" in unit


def test_a_purge_removes_what_was_compiled() -> None:
    unit = (ROOT / "packaging/systemd/forktrace.service").read_text()
    assert "\nCacheDirectory=forktrace\n" in unit
    assert f"rm -rf {kept._FOLDER}\n" in read("forktrace.postrm")
