"""The benchmark: what tracing costs, held against the budgets and other tools."""
