"""What to install is said in the words of the distribution that is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from forktrace.packages import install

UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n'


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("ID=debian\n", "Run: sudo apt install python3-bpfcc"),
        (UBUNTU, "Run: sudo apt install python3-bpfcc"),
        ("ID=fedora\n", "Run: sudo dnf install python3-bcc"),
        ('ID="rhel"\nID_LIKE="fedora"\n', "Run: sudo dnf install python3-bcc"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "sudo dnf install python3-bcc"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install python3-bcc"),
        ("ID=arch\n", "Run: sudo pacman -S python-bcc"),
        ("ID=alpine\n", "Run: sudo apk add py3-bcc"),
        ("ID=nixos\n", "Run: nix-shell -p python3Packages.bcc"),
    ],
)
def test_the_command_of_the_distribution_is_named(
    tmp_path: Path, text: str, advice: str
) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    assert install("bcc", path).endswith(advice)


@pytest.mark.parametrize("text", ["", "ID=plan9\n", "ID=\n", "\udcff"])
def test_where_it_is_unknown_every_name_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "os-release"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "python3-bpfcc (debian), python3-bcc (fedora)" in install("bcc", path)
    assert "libdw1 (debian)" in install("libdw", tmp_path / "none")


def test_what_a_distribution_is_not_known_to_have_is_told_as_others_call_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "os-release"
    path.write_text("ID=alpine\n")
    assert install("plotly", path).startswith("Install its package: python3-plotly")
