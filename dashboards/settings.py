"""What a site may want to change; run ``python -m dashboards`` afterwards."""

RUNBOOK = "https://github.com/forktrace/forktrace/blob/main/dashboards/RUNBOOK.md"
"""Where alerts lead: the address of RUNBOOK.md, or of a copy of it."""
