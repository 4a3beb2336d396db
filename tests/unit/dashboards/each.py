"""One test of what holds for each of very many things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


def of_each(
    things: Sequence[tuple[str, Thing]],
) -> Callable[[Callable[[Thing], None]], Callable[[], None]]:
    """Make one test of what holds for each of many things; the one that fails is named.

    Hundreds of tests would take longer than all that they look at.
    """

    def one_test_of(check: Callable[[Thing], None]) -> Callable[[], None]:
        def test() -> None:
            for name, thing in things:
                try:
                    check(thing)
                except AssertionError as error:
                    raise AssertionError(f"{name}: {error}") from error

        return test

    return one_test_of
