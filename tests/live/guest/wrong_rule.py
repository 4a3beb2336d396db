"""forktrace with a rule that is deliberately wrong: what a new kernel might do to it.

The wrong rule forgets PFNMAP and MIXEDMAP, which every kernel copies. Everything else,
the probes and the kernel included, is real.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from forktrace import __main__ as forktrace
from forktrace.kernel import running
from forktrace.kernel.rule import Reading, read_rule
from tests.live.guest.expected import MIXEDMAP, PFNMAP


def _forgetful(*arguments: Any, **named: Any) -> Reading:
    reading = read_rule(*arguments, **named)
    bits = {
        bit: side
        for bit, side in reading.rule.bits.items()
        if bit not in (PFNMAP, MIXEDMAP)
    }
    return replace(reading, rule=replace(reading.rule, bits=bits))


if __name__ == "__main__":
    vars(running)["read_rule"] = _forgetful
    forktrace.main()
