"""Pictures of the dashboards, drawn from what a real Prometheus answered."""
