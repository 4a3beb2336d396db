"""Who called fork: the right functions of programs that nobody built for it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forktrace.errors import Unsupported
from forktrace.stacks.frames import Frame
from forktrace.tracer.session import Wanted
from tests.live.guest.forks import Forks, fork_once
from tests.live.guest.programs import PATIENCE, wait_until

COMPILER = shutil.which("gcc")
SHELL_C = """
#include <stdlib.h>
__attribute__((noinline)) int run_script(const char *script)
{
    int status = system(script);
    return status + 1;
}
"""
SNAPSHOT_C = """
#include <sys/wait.h>
#include <unistd.h>
static __attribute__((noinline)) int write_snapshot(int depth)
{
    int status = 0;
    if (depth)
        return write_snapshot(depth - 1) + 1;
    if (!fork())
        _exit(0);
    wait(&status);
    return status + 1;
}
__attribute__((noinline)) int save_snapshot(void)
{
    return write_snapshot(2) * 2;
}
"""
MAIN_C = """
#include <stdio.h>
int run_script(const char *);
int save_snapshot(void);
__attribute__((noinline)) static int serve(void)
{
    return run_script("exit 0") + save_snapshot() * 2;
}
int main(void)
{
    int failed = serve() == 0;
    while (getchar() != EOF)
        ;
    return failed;
}
"""
# No frame pointers, which is what distributions build with.
FLAGS = ("-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls")

SNAPSHOT_JAVA = """
public class Snapshot {
    static int saveSnapshot(boolean fork) throws Exception {
        return fork ? new ProcessBuilder("true").start().waitFor() : 0;
    }
    static void onTimer(boolean fork) throws Exception {
        saveSnapshot(fork);
    }
    public static void main(String[] arguments) throws Exception {
        onTimer(false);
        System.out.println("ready");
        System.in.read();
        onTimer(true);
        System.out.println("done");
        while (System.in.read() >= 0) { }
    }
}
"""
JAVA_FLAGS = (
    "-Djdk.lang.Process.launchMechanism=FORK",
    "-XX:+PreserveFramePointer",
    *("-Xcomp", "-XX:CompileCommand=quiet"),
    *("-XX:CompileCommand=compileonly,Snapshot::*", "-XX:TieredStopAtLevel=1"),
    "-XX:-Inline",
)

PERF_PY = """
import os, sys
def write_dump():
    if not os.fork():
        os._exit(0)
    os.wait()
def on_timer():
    write_dump()
on_timer()
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    try:
        started = Forks(Wanted(events=True, stacks=True, ring_bytes=16 << 20))
    except Unsupported as refusal:
        pytest.skip(refusal.message)
    with started.session:
        yield started


def run(forks: Forks, *command: str | Path) -> list[Sequence[Frame]]:
    """Run a program that ends when its stdin does; return who called each fork of it.

    Names are looked up while the program is there.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        wait_until(lambda: bool(forks.of(process.pid)))
    found = forks.of(process.pid)
    assert process.returncode == 0
    assert all(fork.stack for fork in found)
    assert not any(fork.stack.cut for fork in found if fork.stack)
    return [fork.stack.frames for fork in found if fork.stack]


def names(frames: Sequence[Frame]) -> list[str]:
    return [frame.function for frame in frames]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    if not COMPILER:
        pytest.skip("no compiler here")
    for name, text in (("shell", SHELL_C), ("snapshot", SNAPSHOT_C)):
        (tmp_path / f"{name}.c").write_text(text)
        library = tmp_path / f"lib{name}.so"
        subprocess.run(
            [COMPILER, *FLAGS, "-shared", "-fPIC", "-o", library, f"{name}.c"],
            cwd=tmp_path,
            check=True,
        )
    (tmp_path / "main.c").write_text(MAIN_C)
    subprocess.run(
        [
            *(COMPILER, *FLAGS, "-o", "server", "main.c", f"-L{tmp_path}"),
            *("-lshell", "-lsnapshot", f"-Wl,-rpath,{tmp_path}"),
        ],
        cwd=tmp_path,
        check=True,
    )
    return tmp_path / "server"


def test_of_two_libraries_the_one_that_forks_is_named(
    forks: Forks, program: Path
) -> None:
    """Not the one that calls system(), which copies nothing."""
    (frames,) = run(forks, program)
    assert frames[0].module == "[kernel]"
    found = names(frames)
    at = found.index("write_snapshot")
    assert found[at:][:6] == ["write_snapshot"] * 3 + ["save_snapshot", "serve", "main"]
    modules = [Path(frame.module).name for frame in frames[at:][:6]]
    assert modules == ["libsnapshot.so"] * 4 + ["server"] * 2
    assert "run_script" not in found


def test_a_shell_shows_the_way_from_main_to_fork(forks: Forks) -> None:
    (frames,) = run(forks, "bash", "-c", "(exit 0); ! read")
    found = names(frames)
    assert "main" in found
    assert "execute_command_internal" in found
    assert Path(frames[1].module).name.startswith("libc")


def test_a_program_without_a_path_is_read_all_the_same(
    forks: Forks, tmp_path: Path
) -> None:
    """As one in a container has none on the host; this one is in another root."""
    shell = shutil.which("bash")
    assert shell
    told = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True)
    for path in {*(w for w in told.stdout.split() if w.startswith("/")), shell}:
        target = tmp_path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    inside = (tmp_path / shell.lstrip("/")).rename(tmp_path / "inside")
    process = subprocess.Popen(
        ["chroot", tmp_path, "/inside", "-c", "echo; read; (exit 0); ! read"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        inside.unlink()
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: bool(forks.of(process.pid)))
    (fork,) = forks.of(process.pid)
    assert fork.stack
    assert "main" in names(fork.stack.frames)


@pytest.mark.thorough
def test_functions_of_java_are_named(forks: Forks, tmp_path: Path) -> None:
    """As soon as the JVM has written its map; each method is compiled at once."""
    java, jcmd = shutil.which("java"), shutil.which("jcmd")
    if not java or not jcmd:
        pytest.skip("no Java, or none with jcmd")
    source = tmp_path / "Snapshot.java"
    source.write_text(SNAPSHOT_JAVA)
    process = subprocess.Popen(
        [java, *JAVA_FLAGS, source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    subprocess.run([jcmd, str(process.pid), "Compiler.perfmap"], check=True)
    before = len(forks.of(process.pid))
    process.stdin.write("go\n")
    process.stdin.flush()
    # It stays until it is told to go on: names are looked up meanwhile.
    assert process.stdout.readline() == "done\n"
    fork = forks.of(process.pid)[before]
    process.communicate("\n", PATIENCE)
    assert fork.stack
    found = " ".join(names(fork.stack.frames))
    assert "Java_java_lang_ProcessImpl_forkAndExec" in found
    assert "Snapshot.saveSnapshot" in found.replace("::", ".")


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="this Python writes no perf map (3.12 does)"
)
def test_functions_of_python_are_named(forks: Forks) -> None:
    (frames,) = run(forks, sys.executable, "-X", "perf", "-c", PERF_PY)
    python = [name for name in names(frames) if name.startswith("py::")]
    if platform.machine() == "aarch64":
        # libdw tells a frame without call frame information twice there, and with its
        # second step leaves out the frames behind it.
        assert python[0] == "py::write_dump:<string>"
    else:
        assert python[:2] == ["py::write_dump:<string>", "py::on_timer:<string>"]


def test_a_stack_deeper_than_what_is_copied_is_told_as_cut(forks: Forks) -> None:
    def deep(levels: int) -> int:
        if levels:
            # Each call of C that calls Python again takes some of the stack.
            return len(sorted([0], key=lambda _: deep(levels - 1)))
        fork_once()
        return 0

    deep(300)
    *_, fork = forks.ours()
    assert fork.stack
    assert fork.stack.cut
    assert len(fork.stack.frames) > 10
