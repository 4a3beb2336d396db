"""The manual page: it formats cleanly, and leaves out nothing the program has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from forktrace.cli import app
from forktrace.views.lines import HEADER
from forktrace.views.top import HEADER as TOP_HEADER

PAGE = Path(__file__).parents[3] / "packaging/man/forktrace.8"


@pytest.fixture(scope="module")
def text() -> str:
    """The page as it is written, with its escaped dashes as dashes."""
    return PAGE.read_text().replace(r"\-", "-")


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


def section(text: str, command: str) -> str:
    """Return what stands between a command's heading and the next."""
    found = re.search(
        rf"^\.SS {command}\b.*?(?=^\.S[SH])", text, re.MULTILINE | re.DOTALL
    )
    assert found, f"{command} has no section"
    return found[0]


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_has_nothing_to_warn_of() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", PAGE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_every_command_has_one_section(text: str, commands: dict[str, Any]) -> None:
    own = text.partition("\n.SH COMMANDS\n")[2].partition("\n.SH ")[0]
    *found, last = re.findall(r"^\.SS (.+)$", own, re.MULTILINE)
    assert last == "Options of several commands"
    assert [heading.split()[0] for heading in found] == list(commands)


def test_every_command_and_option_is_there(text: str, commands: dict[str, Any]) -> None:
    common = section(text, "Options of several commands")
    for name, command in commands.items():
        own = section(text, name)
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert option in own or option in common, f"{name} {option}"


def test_no_option_is_there_that_the_program_lacks(
    text: str, commands: dict[str, Any]
) -> None:
    known = {
        option
        for command in commands.values()
        for parameter in command.params
        for option in parameter.opts
    } | {"--help", "--version", "--install-completion", "--show-completion"}
    assert set(re.findall(r"(?<!\w)--[a-z][a-z.-]+[a-z]", text)) <= known


@pytest.mark.parametrize(
    "header", [HEADER, TOP_HEADER.replace("/s", "")], ids=["trace", "top"]
)
def test_every_column_is_explained(text: str, header: str) -> None:
    fields = text.partition(".SH FIELDS")[2].partition(".SS Units")[0]
    for column in re.split(r" {1,}", header.strip()):
        assert column in fields, column


def test_every_command_has_help_with_an_example(commands: dict[str, Any]) -> None:
    for name, command in commands.items():
        assert re.search(rf"Example: .*forktrace {name}\b", command.epilog), name


@pytest.mark.parametrize("heading", ["FIELDS", "OVERHEAD", "STABILITY", "EXIT STATUS"])
def test_it_has_what_people_look_for(text: str, heading: str) -> None:
    assert f"\n.SH {heading}\n" in text
