"""Mappings of the kernel's own pages: PFNMAP and MIXEDMAP."""

from __future__ import annotations

import mmap
import os
import socket
from ctypes import create_string_buffer

from forktrace import procfs
from forktrace.kernel.abi import syscall
from forktrace.kinds.ground import PAGE, Ground
from forktrace.kinds.recipes.recipe import Made, makes, whole


@makes("vvar", "the kernel's clock data", "pfnmap", "mixedmap")
def _vvar(_: Ground) -> Made:
    return _special("[vvar]")


@makes(
    "vvar_vclock",
    "the kernel's virtual clock data",
    "pfnmap",
    "mixedmap",
    needs="[vvar_vclock] (x86, Linux 6.13)",
)
def _vvar_vclock(_: Ground) -> Made:
    return _special("[vvar_vclock]")


@makes(
    "tcp_socket", "a mapped TCP socket, without pages", "mixedmap", needs="CONFIG_INET"
)
def _tcp_socket(ground: Ground) -> Made:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        fd = ground.keep(os.dup(tcp.fileno()))
    start = ground.map(mmap.MAP_SHARED, protection=mmap.PROT_READ, fd=fd)
    return whole(ground, start, anon_vma=False)


@makes(
    "io_uring",
    "a ring of io_uring, with pages",
    "pfnmap",
    "mixedmap",
    needs="io_uring (CONFIG_IO_URING, kernel.io_uring_disabled=0)",
)
def _io_uring(ground: Ground) -> Made:
    parameters = create_string_buffer(120)  # struct io_uring_params
    fd = ground.keep(syscall("io_uring_setup", 8, parameters))
    # io_uring chooses the address itself since 6.4 and refuses any other.
    start = ground.map(mmap.MAP_SHARED, fd=fd, length=PAGE, anywhere=True)
    ground.touch(start, write=False, length=PAGE)
    return Made(start, start + PAGE, anon_vma=False)


def _special(name: str) -> Made:
    for vma in procfs.read_smaps():
        if vma.name == name:
            return Made(vma.start, vma.end, anon_vma=False)
    raise OSError(0, f"no {name} here")
