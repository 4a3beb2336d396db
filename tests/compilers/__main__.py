"""Prints a table of what the decoder made of each compiler's decisions."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.compilers import styles, twists
from tests.compilers.compilers import builds, compilers
from tests.compilers.verdict import Verdict, judge


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge every decision in every build; 1 when any is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.compilers", description=__doc__
    )
    parser.add_argument("--compiler", default="", help="only this one: gcc-12")
    parser.add_argument("--way", default="", help="only this one: 'kasan inline'")
    parser.add_argument("--shape", default="", help="only those with this in the name")
    parser.add_argument("--share", type=int, default=1, help="of so many only one")
    parser.add_argument("--refused", action="store_true", help="list what was refused")
    options = parser.parse_args(arguments)
    shapes = [
        shape
        for shape in (*styles.shapes(), *twists.shapes())
        if options.shape in shape.name
    ]
    found: list[Verdict] = []
    print(f"{len(shapes)} decisions")
    print(f"{'build':36}{'right':>7}{'refused':>9}{'though plain':>14}{'wrong':>7}")
    for compiler in compilers():
        if options.compiler not in ("", compiler.command):
            continue
        for turn, build in enumerate(builds(compiler)):
            if options.way in ("", build.way):
                some = shapes[turn % options.share :: options.share]
                verdicts = list(judge(build, some, turn))
                found += verdicts
                _row(str(build), verdicts)
    _row("all", found)
    print("\nwhy refused:")
    for reason, count in Counter(v.refused for v in found if v.refused).most_common():
        print(f"{count:7} {reason}")
    if options.refused:
        for verdict in found:
            if verdict.refused and verdict.plain:
                print(
                    f"refused: {verdict.build}: {verdict.shape.name}: {verdict.refused}"
                )
    for verdict in found:
        if verdict.wrong:
            print(f"wrong: {verdict.build}: {verdict.shape.name}: {verdict.wrong}")
    return any(verdict.wrong for verdict in found)


def _row(name: str, verdicts: Iterable[Verdict]) -> None:
    refused = [verdict for verdict in verdicts if verdict.refused]
    wrong = sum(bool(verdict.wrong) for verdict in verdicts)
    right = len(list(verdicts)) - len(refused) - wrong
    plain = sum(verdict.plain for verdict in refused)
    print(f"{name:36}{right:7}{len(refused):9}{plain:14}{wrong:7}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
