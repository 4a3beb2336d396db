"""smaps and VmPTE, read from text and from real processes."""

from __future__ import annotations

import mmap
import os
import subprocess
import threading
from pathlib import Path

import pytest

from forktrace import procfs
from forktrace.errors import ForktraceError
from forktrace.text import decode_comm

SAMPLE = """\
2000000000-2000010000 rw-s 0001f000 00:01 1026                           /dev/zero (deleted)
Size:                 64 kB
KernelPageSize:        4 kB
Rss:                  60 kB
Anonymous:             8 kB
THPeligible:           0
ProtectionKey:         3
VmFlags: rd wr sh mr mw me ms gu zz 
7ffdd6d3a000-7ffdd6d5b000 rw-p 00000000 00:00 0 
Size:                132 kB
Rss:                   0 kB
VmFlags: rd wr mr mw me gd ac 
"""  # noqa: E501, W291


def test_every_field_of_a_vma_is_read() -> None:
    shared, private = procfs.parse_smaps(SAMPLE)
    assert shared == procfs.SmapsVma(
        start=0x2000000000,
        end=0x2000010000,
        perms="rw-s",
        offset=0x1F000,
        device="00:01",
        inode=1026,
        name="/dev/zero (deleted)",
        sizes={"Size": 65536, "KernelPageSize": 4096, "Rss": 61440, "Anonymous": 8192},
        other={"THPeligible": 0, "ProtectionKey": 3},
        vm_flags=frozenset({"rd", "wr", "sh", "mr", "mw", "me", "ms", "gu", "zz"}),
    )
    assert (shared.size, shared.rss, shared.anonymous) == (65536, 61440, 8192)
    assert (private.name, private.anonymous) == ("", 0)


def test_flags_get_the_kernels_names_and_unknown_ones_keep_their_code() -> None:
    shared, _ = procfs.parse_smaps(SAMPLE)
    assert {"read", "shared", "maybe_guard", "zz"} <= shared.flag_names


def test_a_line_of_no_known_shape_is_an_error() -> None:
    with pytest.raises(ForktraceError, match="Nonsense"):
        procfs.parse_smaps(SAMPLE + "Nonsense 12\n")
    with pytest.raises(ForktraceError, match="Size"):
        procfs.parse_smaps("Size: 4 kB\n")


def test_a_name_may_look_like_anything(tmp_path: Path) -> None:
    path = tmp_path / "a b\n1000-2000 r--p \f (deleted)"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        names = {vma.name for vma in procfs.read_smaps()}
    assert str(path).replace("\n", "\\012") in names


def test_it_agrees_with_maps() -> None:
    def seen() -> list[tuple[int, int, str]]:
        return [(vma.start, vma.end, vma.perms) for vma in procfs.read_smaps()]

    seen()  # what reading allocates stands now
    maps = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, perms = line.split()[:2]
        start, end = (int(word, 16) for word in addresses.split("-"))
        maps.append((start, end, perms))
    # The heap and the reader's own buffers may move between the two.
    assert len(set(maps) & set(seen())) >= len(maps) - 4


def test_page_tables_grow_with_touched_memory() -> None:
    before = procfs.vm_pte_bytes()
    with mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for offset in range(0, 64 << 20, 2 << 20):
            memory[offset] = 1
        grown = procfs.vm_pte_bytes() - before
    assert 31 * mmap.PAGESIZE <= grown <= 36 * mmap.PAGESIZE


def test_the_status_of_a_thread_is_that_of_its_process() -> None:
    status = procfs.read_status()
    assert status.pid == os.getpid()
    assert status.comm == Path("/proc/self/comm").read_text().rstrip("\n")
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert procfs.read_status(thread.native_id or 0).pid == os.getpid()
    finally:
        done.set()
        thread.join()


def test_a_name_is_decoded_as_the_kernels_own_is() -> None:
    comm = Path("/proc/self/comm")
    before, raw = comm.read_bytes(), b"caf\xe9 \xc3\xa9"
    comm.write_bytes(raw)
    try:
        assert procfs.read_status().comm == decode_comm(raw) == "caf\\xe9 \u00e9"
    finally:
        comm.write_bytes(before.rstrip(b"\n"))


def test_no_such_process() -> None:
    pid = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    for read in (procfs.read_smaps, procfs.vm_pte_bytes, procfs.read_status):
        with pytest.raises(ForktraceError, match=f"no process {pid}"):
            read(pid)


def test_a_zombie_has_no_memory() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        for read in (procfs.read_smaps, procfs.vm_pte_bytes):
            with pytest.raises(ForktraceError, match="own: it is a zombie"):
                read(child.pid)
        assert procfs.read_status(child.pid).page_table_bytes is None


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become someone else")
def test_a_process_of_someone_else_may_not_be_read() -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setresuid(65534, 65534, 65534)
            procfs.read_smaps(1)
        except ForktraceError as error:
            status = 0 if "may not be read" in error.message else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
