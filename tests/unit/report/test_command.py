"""``forktrace report`` as it is called: anywhere, and never with a traceback."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forktrace.recording import reader
from forktrace.report import command
from tests.patience import PATIENCE, wait_until
from tests.unit.commands import Command
from tests.unit.recording.samples import fork, vma, write


@pytest.fixture
def report(forktrace: Command) -> Command:
    """Return how to call ``forktrace report``."""
    return lambda *words: forktrace("report", *words)


def test_text_begins_with_the_verdict(report: Command, tmp_path: Path) -> None:
    answer = report(write(tmp_path / "r"))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("In 60 s, 1 fork took 10 ms in all; 90% of it")


def test_json_is_one_object(report: Command, tmp_path: Path) -> None:
    answer = report(write(tmp_path / "r"), "--json")
    assert json.loads(answer.stdout)["forks"] == 1


def test_a_name_outside_the_outputs_encoding_is_written_out(tmp_path: Path) -> None:
    path = write(tmp_path / "r", [fork(comm="\N{SNOWMAN}d")])
    answer = subprocess.run(
        [sys.executable, "-m", "forktrace", "report", path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        timeout=PATIENCE,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "\\u2603d" in answer.stdout


def test_html_goes_to_its_file(report: Command, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    answer = report(write(tmp_path / "r"), "--html", page)
    assert (answer.returncode, answer.stdout) == (0, "")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_recording_that_was_cut_off_is_reported_with_a_line_that_says_so(
    report: Command, tmp_path: Path
) -> None:
    path = write(tmp_path / "r", ended=False)
    answer = report(path)
    assert answer.returncode == 0
    assert "1 fork" in answer.stdout
    assert answer.stderr == (
        f"forktrace: {path} was cut off; this is what it holds up to there.\n"
    )


def truncate(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:30])


def damage(path: Path) -> None:
    data = write(path).read_bytes()
    path.write_bytes(data[:-200] + b"\xff" * 100 + data[-100:])


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda path: None, 2),
        (Path.mkdir, 2),
        (Path.touch, 1),
        (lambda path: path.write_text("hello"), 1),
        (truncate, 1),
        (damage, 1),
    ],
    ids=["missing", "directory", "empty", "foreign", "no header left", "damaged"],
)
def test_what_cannot_be_read_is_two_lines_at_most(
    report: Command, tmp_path: Path, make: Callable[[Path], object], status: int
) -> None:
    make(tmp_path / "r")
    answer = report(tmp_path / "r")
    assert answer.returncode == status
    assert answer.stdout == ""
    assert 1 <= len(answer.stderr.splitlines()) <= 2
    assert all(line.startswith("forktrace: ") for line in answer.stderr.splitlines())


def test_a_page_that_cannot_be_written_is_one_failure(
    report: Command, tmp_path: Path
) -> None:
    answer = report(write(tmp_path / "r"), "--html", tmp_path / "missing/r.html")
    assert answer.returncode == 1
    assert "No such file" in answer.stderr
    assert len(answer.stderr.splitlines()) == 2


def test_a_page_is_not_written_to_a_file_called_dash(
    report: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "r")
    monkeypatch.chdir(tmp_path)
    answer = report(path, "--html", "-")
    assert answer.returncode == 2
    assert answer.stderr.startswith("forktrace: The page is written to a file.\n")
    assert not Path("-").exists()


def test_a_page_never_replaces_its_recording(report: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "r")
    before = path.read_bytes()
    answer = report(path, "--html", path)
    assert answer.returncode == 2
    assert path.read_bytes() == before


def test_neither_bcc_nor_a_kernel_is_needed(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from forktrace.report.command import report\n"
        "from pathlib import Path\n"
        "path = Path(sys.argv[1])\n"
        "report(path, as_json=False, html=path.with_suffix('.html'))\n"
        "loaded = [name for name in sys.modules if name.startswith("
        "('bcc', 'forktrace.tracer', 'forktrace.kernel'))]\n"
        "assert not loaded, loaded\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, write(tmp_path / "r")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def test_lines_too_long_to_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many = tuple(vma(0x1000 * n, "pfnmap", n) for n in range(100))
    path = write(tmp_path / "r", [fork(details=many)])
    monkeypatch.setattr(reader, "_WHOLE_LINE", 1000)
    monkeypatch.setattr(reader, "_LONGEST_LINE", 10_000)
    assert command.report(path, as_json=False, html=None) == 0
    assert capsys.readouterr().err == (
        "forktrace: 1 line was left out: "
        "longer than any that forktrace record writes.\n"
    )


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(
    report: Command, tmp_path: Path
) -> None:
    recording, other = write(tmp_path / "r"), write(tmp_path / "s")
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<!DOCTYPE html>my thesis")
    for path in (recording, other, thesis):
        before = path.read_bytes()
        answer = report(recording, "--html", path)
        assert answer.returncode == 2
        assert "is no page that forktrace wrote" in answer.stderr
        assert path.read_bytes() == before
    for _ in range(2):
        assert report(recording, "--html", tmp_path / "page.html").returncode == 0


def test_without_plotly_there_is_a_report_and_no_page(
    report: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    recording, page = write(tmp_path / "r"), tmp_path / "page.html"
    answer = report(recording, "--html", page)
    assert answer.returncode == 3
    assert "plotly is missing" in answer.stderr
    assert not page.exists()
    assert report(recording).returncode == 0


def test_a_page_that_cannot_be_written_leaves_the_one_before(
    report: Command, tmp_path: Path
) -> None:
    """A limit on the size of files stands for a full disk."""
    recording, page = write(tmp_path / "r"), tmp_path / "page.html"
    report(recording, "--html", page)
    before, files = page.read_bytes(), sorted(os.listdir(tmp_path))
    with small_files():
        answer = report(recording, "--html", page)
    assert answer.returncode == 1
    assert "File too large" in answer.stderr
    assert page.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == files


@contextmanager
def small_files() -> Iterator[None]:
    """Let this process write no more than 64 KiB to a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def piped(data: bytes, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Call report with a recording, or what else, on standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "forktrace", "report", *words],
        input=data,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    said = (done.stdout.decode(), done.stderr.decode())
    return subprocess.CompletedProcess(done.args, done.returncode, *said)


@pytest.mark.parametrize("unpack", [bytes, gzip.decompress], ids=["gzip", "plain"])
def test_a_recording_comes_from_standard_input(
    tmp_path: Path, unpack: Callable[[bytes], bytes]
) -> None:
    data = unpack(write(tmp_path / "r").read_bytes())
    answer = piped(data, "-", "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    told = json.loads(answer.stdout)
    assert (told["forks"], told["ended"]) == (1, "stopped")
    compared = piped(data, tmp_path / "r", "-")
    assert compared.returncode == 0
    cut = piped(data[:-20], "-")
    assert cut.returncode == 0
    assert cut.stderr.startswith("forktrace: Standard input was cut off; ")


@pytest.mark.parametrize(
    ("data", "words", "status", "said"),
    [
        (b"", ["-"], 1, "Standard input is empty."),
        (b"hello", ["-"], 1, "Standard input is not a recording."),
        (b"{}\n", ["-"], 1, "Standard input is not a recording."),
        (b"", ["-", "-"], 2, "Only one recording can come from standard input."),
        (b"", ["-", "--since", "10m"], 2, "Only the end of a recording tells"),
        (b"", ["/dev/stdin", "--since", "1h"], 2, "Only the end of a recording tells"),
    ],
)
def test_what_standard_input_cannot_give(
    data: bytes, words: list[str], status: int, said: str
) -> None:
    answer = piped(data, *words)
    assert (answer.returncode, answer.stdout) == (status, "")
    assert answer.stderr.startswith(f"forktrace: {said}")
    assert len(answer.stderr.splitlines()) <= 2


def test_a_terminal_is_no_recording() -> None:
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "forktrace", "report", "-"],
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "Standard input is no recording, but a terminal." in done.stderr


def test_ctrl_c_ends_the_recorder_and_not_the_report(tmp_path: Path) -> None:
    data = write(tmp_path / "r").read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", _READ_THEN_SAY, tmp_path / "reading"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as reader:
        assert reader.stdin
        assert reader.stdout
        reader.stdin.write(data[:-20])
        reader.stdin.flush()
        wait_until((tmp_path / "reading").exists)
        reader.send_signal(signal.SIGINT)
        reader.stdin.write(data[-20:])
        reader.stdin.close()
        assert b"1 fork took 10 ms" in reader.stdout.read()
    assert reader.returncode == 0


_READ_THEN_SAY = """
import sys
from pathlib import Path
from forktrace.__main__ import main
from forktrace.report import command
outlive = command._outlive_ctrl_c
def told():
    outlive()
    Path(sys.argv[1]).touch()
command._outlive_ctrl_c = told
main(["report", "-"])
"""
