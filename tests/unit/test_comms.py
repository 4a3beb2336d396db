"""A name is exact, or a glob as in a shell."""

from __future__ import annotations

import pytest

from forktrace.comms import Comms, is_glob


@pytest.mark.parametrize(
    ("patterns", "names", "fits"),
    [
        ((), ("sh",), True),
        (("sh",), ("sh",), True),
        (("sh",), ("bash",), False),
        (("redis*",), ("redis-server",), True),
        (("redis*",), ("Redis",), False),
        (("*sh",), ("python3", "dash"), True),
        (("a?", "[bc]d"), ("cd",), True),
        (("a?", "[bc]d"), ("dd",), False),
        (("[bc]d",), ("[bc]d",), True),
        (("a-name-of-20-bytes..",), ("a-name-of-20-by",), True),
    ],
)
def test_what_fits(
    patterns: tuple[str, ...], names: tuple[str, ...], fits: bool
) -> None:
    assert Comms(patterns).fit(*names) is fits


def test_what_is_a_glob() -> None:
    assert [is_glob(each) for each in ("redis", "re?", "re*", "[r]")] == [
        False,
        True,
        True,
        True,
    ]
