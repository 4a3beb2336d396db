"""Write down the machine code that decides about copying on the kernel that runs here.

Run as root on a kernel to add it to the fixtures of test_decode.py, in the lab:

    python -m tests.lab --kernel 7.3 --results DIR -- sh -c \
        '.venv/bin/python -m tests.unit.kernel.capture >$RESULTS/RELEASE.json'
"""

from __future__ import annotations

import json
import os
import sys

from forktrace.kernel import rule, text
from forktrace.kernel.btf import Btf
from forktrace.kernel.decision import INSTRUMENTATION, REPORTS, RETURN_THUNKS
from forktrace.kernel.symbols import Symbols


def main() -> None:
    symbols = Symbols.read(*rule.SYMBOLS)
    functions, thunks, called = {}, [], {}
    for symbol in symbols.found.values():
        if symbol.name.startswith((*INSTRUMENTATION, *REPORTS)):
            called[symbol.name] = symbol.address
            continue
        if symbol.name in RETURN_THUNKS:
            thunks.append(symbol.address)
            continue
        code = text.read_kcore(symbol).code
        functions[symbol.name] = {"address": symbol.address, "code": code.hex()}
    with Btf.of_running_kernel() as btf:
        layout = {
            name: btf.offset("vm_area_struct", name, 8)
            for name in ("vm_flags", "anon_vma")
        }
        bits = btf.enum_values("VMA_", "_BIT")
    fixture = {
        "release": os.uname().release,
        "machine": os.uname().machine,
        "vm_area_struct": layout,
        "functions": functions,
        "return_thunks": sorted(thunks),
        "vma_bits": bits,
        "instrumentation": called,
    }
    json.dump(fixture, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
