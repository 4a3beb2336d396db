"""What a site may want to change; run ``python -m dashboards`` afterwards."""

import re
from pathlib import Path

RUNBOOK = "https://github.com/forktrace/forktrace/blob/main/dashboards/RUNBOOK.md"
"""Where alerts and dashboards lead: the address of RUNBOOK.md, or of a copy of it."""

_RULES = Path(__file__).resolve().parent / "rules/forktrace.rules.yml"
(_BOUND,) = re.findall(r'le="([^"]*)"', _RULES.read_text())

OBJECTIVE_SECONDS = float(_BOUND)
"""How long a fork may take: set in the first group of the rules, and only there."""

OBJECTIVE = f"{OBJECTIVE_SECONDS * 1000:g} ms"
"""The same in words."""
