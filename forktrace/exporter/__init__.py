"""Model to Prometheus."""
