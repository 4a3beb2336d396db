"""How the machine's apt sources are read, and what is taken from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.apt import (
    SUITES,
    Apt,
    Source,
    debian_sources,
    machine_sources,
    parse_deb822,
    parse_one_line,
)
from tests.lab.errors import LabError

MIRROR = "http://mirror.example/debian"
SECURITY = "http://mirror.example/debian-security"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_the_classic_format_gives_uri_suite_and_keyring() -> None:
    text = f"deb [arch=amd64 signed-by={KEYRING}] {MIRROR} bookworm main contrib\n"
    assert list(parse_one_line(text)) == [Source(MIRROR, ("bookworm",), KEYRING)]


def test_the_classic_format_skips_comments_and_source_packages() -> None:
    text = f"# deb {MIRROR} bookworm main\ndeb-src {MIRROR} bookworm main\n"
    assert list(parse_one_line(text)) == []


def test_the_newer_format_gives_every_uri_and_suite_and_ignores_comments() -> None:
    text = f"""Types: deb deb-src
# where this image was made from
URIs: {MIRROR} http://other.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: {KEYRING}
"""
    suites = ("trixie", "trixie-updates")
    assert list(parse_deb822(text)) == [
        Source(MIRROR, suites, KEYRING),
        Source("http://other.example/debian", suites, KEYRING),
    ]


def test_the_newer_format_keeps_a_key_that_stands_in_the_file_itself() -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END"
    text = f"Types: deb\nURIs: {MIRROR}\nSuites: trixie\nSigned-By:\n {key}\n"
    (source,) = parse_deb822(text)
    assert source.signed_by == key


@pytest.mark.parametrize("line", ["Enabled: no", "Types: deb-src"])
def test_the_newer_format_skips_what_is_off_or_not_binary(line: str) -> None:
    text = f"Types: deb\nURIs: {MIRROR}\nSuites: trixie\n{line}\n"
    assert list(parse_deb822(text)) == []


def test_both_formats_are_read_from_the_folder_of_apt(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(f"deb {MIRROR} bookworm main\n")
    (tmp_path / "sources.list.d").mkdir()
    stanza = f"Types: deb\nURIs: {SECURITY}\nSuites: bookworm-security\n"
    (tmp_path / "sources.list.d/debian.sources").write_text(stanza)
    assert machine_sources(tmp_path) == [
        Source(MIRROR, ("bookworm",)),
        Source(SECURITY, ("bookworm-security",)),
    ]


def test_the_suites_with_kernels_are_asked_of_the_machines_own_mirrors() -> None:
    machine = [
        Source("http://elsewhere.example", ("nodistro",)),
        Source("http://elsewhere.example", ("tools-bookworm",)),
        Source(MIRROR, ("bookworm", "bookworm-updates"), KEYRING),
        Source(SECURITY, ("bookworm-security",), KEYRING),
    ]
    assert debian_sources(machine) == [
        Source(MIRROR, SUITES["main"], KEYRING),
        Source(SECURITY, SUITES["security"], KEYRING),
    ]


def test_a_machine_without_a_debian_mirror_is_told_so() -> None:
    with pytest.raises(LabError, match="no Debian archive"):
        debian_sources([Source("http://elsewhere.example", ("noble",))])


def test_lists_are_fresh_where_they_were_read_and_not_where_they_were_moved(
    tmp_path: Path,
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    apt = Apt(here)
    assert not apt.is_fresh()
    apt._configure()
    apt._stamp.touch()
    assert apt.is_fresh()
    here.rename(there)
    assert not Apt(there).is_fresh()
