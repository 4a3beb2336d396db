"""The container image and what Kubernetes makes of the DaemonSet, without a cluster."""
