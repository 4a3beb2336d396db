"""Runs targets one after the other and prints what came of each; 1 where one failed."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.target import CASES, Target
from tests.fuzz.targets import TARGETS

_MOST_MEGABYTES = 512
# For one input, generous: the machine may be busy.
_SECONDS_EACH = 300
_LONGEST_INPUT = 8192

_HEADS = f"{'TARGET':<21} {'INPUTS':>10} {'SECONDS':>8} {'EDGES':>6} {'MB':>4}  CRASHES"


@dataclass(frozen=True)
class Run:
    """What came of one target; ``crashes`` are the inputs that went wrong."""

    target: str
    inputs: int
    seconds: float
    edges: int
    megabytes: int
    crashes: tuple[Path, ...]
    said: str

    @property
    def failed(self) -> bool:
        """Whether an input went wrong, or the fuzzer itself did."""
        return bool(self.crashes) or not self.inputs

    @property
    def line(self) -> str:
        """A line of the table."""
        names = " ".join(path.name for path in self.crashes)
        crashes = names or ("did not run" if self.failed else "none")
        return (
            f"{self.target:<21} {self.inputs:>10,} {self.seconds:>8.0f} "
            f"{self.edges:>6,} {self.megabytes:>4}  {crashes}"
        )


def run(
    target: Target,
    runs: int,
    seconds: int,
    table: str = "tests.fuzz.targets",
    seed: int = 0,
) -> Run:
    """Fuzz a target for ``runs`` inputs or ``seconds``, or until one crashes it.

    ``seed`` 0 takes other inputs each time.
    """
    kept = CASES / target.name
    before = set(target.cases)
    kept.mkdir(exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="forktrace-corpus-") as corpus:
        for number, known in enumerate(target.seeds()):
            Path(corpus, f"seed-{number}").write_bytes(known)
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.worker", table, target.name),
                *(f"-runs={runs}", f"-max_total_time={seconds}", f"-seed={seed}"),
                *(f"-rss_limit_mb={_MOST_MEGABYTES}", f"-timeout={_SECONDS_EACH}"),
                # What is slow and still ends is no failure: the machine may be busy.
                f"-report_slow_units={_SECONDS_EACH}",
                *(f"-max_len={_LONGEST_INPUT}", "-print_final_stats=1"),
                *(f"-artifact_prefix={kept}/", corpus, str(kept)),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    took = time.monotonic() - began
    crashes = tuple(path for path in target.cases if path not in before)
    if not target.cases:
        kept.rmdir()
    inputs = _number(r"number_of_executed_units: (\d+)", ended.stderr)
    return Run(
        target=target.name,
        inputs=inputs if not ended.returncode or crashes else 0,
        seconds=took,
        edges=_number(r"cov: (\d+) ft:", ended.stderr),
        megabytes=_number(r"peak_rss_mb: +(\d+)", ended.stderr),
        crashes=crashes,
        said=ended.stdout + ended.stderr,
    )


def _number(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _names(asked: Sequence[str]) -> Sequence[str]:
    unknown = sorted(set(asked) - set(TARGETS))
    if unknown:
        sys.exit(f"There is no target {unknown[0]}: take {', '.join(TARGETS)}.")
    return asked or list(TARGETS)


def main() -> int:
    """Read the command line, fuzz, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=0, help="0: another each time")
    asked = parser.parse_args()
    if find_spec("atheris") is None:
        sys.exit("The fuzzer, atheris, is not there: on PyPI it is for x86-64 alone.")
    failed = False
    print(_HEADS, flush=True)
    for name in _names(asked.targets):
        came = run(TARGETS[name], asked.runs, asked.seconds, seed=asked.seed)
        print(came.line, flush=True)
        if came.failed:
            failed = True
            print(came.said[-4000:], file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
