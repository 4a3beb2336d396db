"""Reads a BPF map of its own by bpf() calls until it is killed."""

from __future__ import annotations

import ctypes

from forktrace.libbpf import library

ARRAY = 2  # BPF_MAP_TYPE_ARRAY
BYTES = 4096


def main() -> None:
    """Create the map and read its only element again and again."""
    libbpf = library()
    fd = libbpf.bpf_map_create(ARRAY, b"other_tool", 4, BYTES, 1, None)
    assert fd >= 0, fd
    key, value = ctypes.c_uint32(0), ctypes.create_string_buffer(BYTES)
    while libbpf.bpf_map_lookup_elem(fd, ctypes.byref(key), value) == 0:
        pass


if __name__ == "__main__":
    main()
