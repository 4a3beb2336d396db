"""What a site may want to change; run ``python -m dashboards`` afterwards."""

RUNBOOK = "https://github.com/forktrace/forktrace/blob/main/dashboards/RUNBOOK.md"
"""Where alerts and dashboards lead: the address of RUNBOOK.md, or of a copy of it."""

OBJECTIVE_SECONDS = 0.1
"""How long a fork may take, as in the first group of rules/forktrace.rules.yml."""
