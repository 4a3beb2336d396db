"""What cgroups are called: their paths, and the units and containers they belong to."""
