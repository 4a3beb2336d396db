"""What a fleet costs Prometheus: simulated hosts, a real server, extrapolated."""
