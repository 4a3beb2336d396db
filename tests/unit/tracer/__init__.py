"""Unit tests of the tracer's plain parts; that tracing works is shown on kernels."""
