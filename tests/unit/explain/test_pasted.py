"""What is said of a pasted smaps: of real ones word for word, and of damaged ones."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forktrace.errors import ForktraceError, UsageError
from forktrace.explain import paste, pasted
from forktrace.explain.command import report
from forktrace.explain.paste import Paste
from forktrace.explain.predict import forecast
from forktrace.explain.process import Process
from forktrace.explain.report import Answer
from forktrace.kernel.flags import FlagNames
from forktrace.kernel.rule import NEWEST, rule_of_release
from forktrace.views.explain import lines
from tests.patience import PATIENCE

FOLDER = Path(__file__).parent / "smaps"
FILES = sorted(FOLDER.glob("*.txt"))

WHOLE = """\
55d000000000-55d000400000 rw-p 00000000 00:00 0                          [heap]
Size:               4096 kB
KernelPageSize:        4 kB
Rss:                4096 kB
Anonymous:          4096 kB
VmFlags: rd wr mr mw me ac
7fd000000000-7fd000200000 r-xp 00000000 fd:00 10    /usr/lib/a library.so (deleted)
Size:               2048 kB
KernelPageSize:        4 kB
Rss:                 400 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
Size:                132 kB
KernelPageSize:        4 kB
Rss:                  12 kB
Anonymous:            12 kB
VmFlags: rd wr mr mw me gd ac
"""


def of(tmp_path: Path, text: str | bytes) -> Paste:
    path = tmp_path / "smaps"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return paste.read(str(path))


def answered(tmp_path: Path, text: str) -> Answer:
    return pasted.explain(of(tmp_path, text), None, None)


def said(tmp_path: Path, text: str) -> str:
    return " ".join(" ".join(lines(answered(tmp_path, text))).split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_ones_are_explained_word_for_word(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    told = "\n".join(lines(pasted.answer(path.name, None, None))) + "\n"
    expected = path.with_suffix(".expected")
    if "FORKTRACE_WRITE" in os.environ:
        expected.write_text(told)
    assert told == expected.read_text()


def test_the_examples_show_what_is_said() -> None:
    examples = (Path(__file__).parents[3] / "packaging/doc/EXAMPLES.md").read_text()
    told = (FOLDER / "jvm_thp_cut.expected").read_text().splitlines()
    assert "\n".join(f"    {line}".rstrip() for line in told) in examples


def test_each_file_is_accounted_for() -> None:
    readme = (FOLDER / "README.md").read_text()
    assert [path.name for path in FILES if f"`{path.name}`" not in readme] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_json_adds_up(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(smaps=str(path), as_json=True) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["pid"], found["comm"], found["kernel"]) == (None, None, None)
    assert found["refusals"] is found["own_page_table_bytes"] is None
    assert found["rule"]["release"] == "7.3"
    copied = [each for each in found["details"] if each["decision"] == "copy"]
    total = sum(each["page_table_bytes"] for each in copied)
    assert total == found["page_table_bytes"]
    least, most = (found[f"{end}_page_table_bytes"] for end in ("least", "most"))
    assert least <= total <= most
    assert len(found["details"]) == found["paste"]["mappings"]


# -- what happens to a text on its way ----------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
        lambda text: "".join(f"> > {line}\n" for line in text.splitlines()),
        lambda text: "".join(f"\t    {line}\n" for line in text.splitlines()),
        lambda text: "".join(f" * {line}\n" for line in text.splitlines()),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.replace(" fd:00 10 ", " fd:00 10\n"),
        lambda text: text.replace("r-xp 00000000 fd:00", "r-xp\n00000000 fd:00"),
        lambda text: text.replace(" (deleted)", "\n  (deleted)"),
        lambda text: text.replace("mr mw me", "mr\nmw me"),
        lambda text: text.replace("Rss:  ", "Rss:\n"),
        lambda text: text.replace(" kB", " kB   ==> so much"),
        lambda text: text.rstrip("\n"),
    ],
    ids=[
        *("crlf", "quoted", "twice", "indented", "comment", "blank_lines"),
        *("name_wrapped", "header_wrapped", "deleted_wrapped", "flags_wrapped"),
        *("field_wrapped", "remarks", "no_last_newline"),
    ],
)
def test_what_was_done_to_a_paste_is_undone(change: Any, tmp_path: Path) -> None:
    found, plain = of(tmp_path, change(WHOLE)), of(tmp_path, WHOLE)
    assert found == plain
    assert (found.complete, found.unread, len(found.vmas)) == (True, 0, 3)


def test_what_is_around_it_is_passed_over(tmp_path: Path) -> None:
    found = of(tmp_path, f"Hello,\n$ cat /proc/7/smaps\n```\n{WHOLE}```\nRegards\n")
    assert (len(found.vmas), found.unread, found.complete) == (3, 5, True)


def test_a_cut_end_drops_the_last_mapping(tmp_path: Path) -> None:
    for cut in (
        "Anonymous:            12",
        "VmFlags: rd wr mr mw me gd",
        "Rss:        ",
    ):
        text = WHOLE[: WHOLE.rindex(cut)]
        found = of(tmp_path, text)
        assert (len(found.vmas), found.cut_end, found.complete) == (2, True, False)
        assert (
            "The paste is cut: 2 mappings read whole, the last one dropped."
        ) in said(tmp_path, text)


def test_a_cut_header_is_no_mapping(tmp_path: Path) -> None:
    found = of(tmp_path, WHOLE[: WHOLE.index(" 00:00 0      ", 400)])
    assert (len(found.vmas), found.dropped, found.unread) == (2, 0, 1)


def test_a_cut_beginning_is_told(tmp_path: Path) -> None:
    text = WHOLE[WHOLE.index("Rss") :]
    found = of(tmp_path, text)
    assert (len(found.vmas), found.cut_begin, found.complete) == (2, True, False)
    assert "2 mappings read whole, the first one dropped." in said(tmp_path, text)


def test_a_gap_between_drops_what_it_cuts(tmp_path: Path) -> None:
    begin, end = WHOLE.index("Anonymous:             0"), WHOLE.index("7ffd00000000")
    text = f"{WHOLE[:begin]}...\n{WHOLE[end:]}"
    found = of(tmp_path, text)
    assert (len(found.vmas), found.gaps, found.dropped) == (2, 1, 1)
    assert "others left out in 1 place" in said(tmp_path, text)
    assert "1 mapping without sizes was dropped." in said(tmp_path, text)


def test_flags_that_are_missing_are_a_doubt(tmp_path: Path) -> None:
    kept = [line for line in WHOLE.splitlines() if not line.startswith("VmFlags")]
    found = answered(tmp_path, "\n".join(kept))
    fates = {fate.vma.name: fate for fate in found.forecast.fates}
    assert [fate.doubt for fate in fates.values()] == ["", "vm_flags", ""]
    assert fates["[heap]"].copied
    assert "Which flags 1 VMA have" in said(tmp_path, "\n".join(kept))


def test_of_several_processes_the_first_is_studied(tmp_path: Path) -> None:
    found = of(tmp_path, WHOLE + WHOLE)
    assert (len(found.vmas), found.more) == (3, True)
    assert "Another process follows" in said(tmp_path, WHOLE + WHOLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no mapping"),
        ("Hello\n", "holds no mapping"),
        ("".join(f"{line}\n" for line in WHOLE.splitlines() if "-" in line), "maps, "),
        ("5000-6000 ---p 00000000 00:00 0   [rollup]\nRss: 4 kB\n", "smaps_rollup"),
        (WHOLE[:120], "that is whole"),
    ],
    ids=["empty", "prose", "maps", "rollup", "cut"],
)
def test_what_is_no_smaps_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ForktraceError) as raised:
        of(tmp_path, text)
    assert message in raised.value.message
    assert "\n" not in raised.value.message
    assert raised.value.exit_status == 1


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, "a\0b"):
        with pytest.raises(ForktraceError, match="cannot be read"):
            paste.read(str(path))


def test_one_process_or_all_or_a_file() -> None:
    for options in ({"pid": 1}, {"all_processes": True}):
        with pytest.raises(UsageError):
            report(smaps="x", **options)


def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(WHOLE.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert report(smaps="-", rule="6.1") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("A fork of the process of the pasted text on 6.1 would copy")
    assert "Rule of 6.1: copy if" in told


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ForktraceError, match="Standard input is closed"):
        paste.read("-")


def test_what_was_measured_on_its_host_becomes_an_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = {"vmas": 10, "copy_ns": 10_000, "page_table_bytes": 0}
    (tmp_path / "forks.json").write_text(json.dumps({"triggers": [cost]}))
    (tmp_path / "smaps").write_text(WHOLE)
    where = str(tmp_path / "smaps")
    assert report(smaps=where, measured=str(tmp_path / "forks.json"), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["copy_ns"] == 2000


def test_nothing_of_proc_is_needed(tmp_path: Path) -> None:
    (tmp_path / "smaps").write_text(WHOLE)
    hide = 'mount -t tmpfs none /proc && exec "$@"'
    command = [sys.executable, "-m", "forktrace", "explain", "--smaps"]
    made = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", hide, "sh", *command, str(tmp_path / "smaps")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if made.returncode == 1 and "forktrace" not in made.stderr:
        pytest.skip(f"no mount namespace of its own: {made.stderr}")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("A fork of the process of ")


def test_the_same_process_is_within_what_its_smaps_tells() -> None:
    own = Process.read(os.getpid())
    rule, names = rule_of_release(NEWEST), FlagNames.of(NEWEST, {})
    seen = forecast(replace(own, page_table_bytes=None), rule, names, NEWEST)
    told = pasted.answer("/proc/self/smaps", None, None).forecast
    # Between the two, and for the second, this process may have grown a little.
    slack = 64 << 10
    assert told.least_bytes - slack <= seen.page_table_bytes
    assert seen.page_table_bytes <= told.most_bytes + slack


def test_the_newest_rule_answers_and_says_so(tmp_path: Path) -> None:
    told = said(tmp_path, WHOLE)
    assert "Rule of 7.3, the newest known (--rule takes another): copy if" in told


def test_what_is_kept_does_not_grow_with_the_sizes(tmp_path: Path) -> None:
    huge = "".join(
        f"{number << 44:x}-{(number + 1) << 44:x} rw-p 00000000 00:00 0\n"
        f"Rss: {1 << 33} kB\nAnonymous: {1 << 33} kB\nVmFlags: rd wr mr mw me ac\n"
        for number in range(1, 100)
    )
    tracemalloc.start()
    found = answered(tmp_path, huge + "7" * (1 << 20) + "\n")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.forecast.least_bytes > 1 << 40
    assert most < 16 << 20
