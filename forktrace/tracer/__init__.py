"""The only place that touches BPF."""
