"""The live table: sorted, filtered, cut to the terminal, steered by single keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forktrace.activity import Usage, Window
from forktrace.comms import Comms
from forktrace.model import Histogram, ProgramCost, Totals, Vforks, VmaCounts
from forktrace.views.top import HEADER, TopState, lines


def usage(comm: str, copy_ns: int, forks: int = 1, discards: int = 0) -> Usage:
    return Usage(
        comm=comm,
        seconds=2.0,
        forks=forks,
        copy_ns=copy_ns,
        page_table_bytes=4096 * forks,
        discards=discards,
        discarded_bytes=4096 * discards,
        mean_ns=copy_ns * 2,
        max_ns=copy_ns * 3,
        triggers={"anon_vma": 3 * copy_ns // 4, "maybe_guard": copy_ns // 4},
    )


def window(*usages: Usage, lost: int = 0) -> Window:
    histogram = Histogram((1000,), (0, 0), 10**9)
    totals = Totals(
        forks={"ok": 8, "failed": 0},
        vmas=VmaCounts(),
        triggers=(),
        fork_duration=histogram,
        copy_duration=histogram,
        lost={"fork_slot": lost},
        programs=(ProgramCost("copy_entry", 8 * 10**6, 100),),
    )
    return Window(2.0, 8, 10**9, 5 * 10**8, usages, totals)


TWO = window(usage("sh", 4_000_000, 6, 3), usage("redis-server", 40_000_000, 2))


def names(state: TopState, rows: int = 0, shown: Window = TWO) -> list[str]:
    text = lines(shown, state, "forktrace", rows)
    return [line.split()[0] for line in text[text.index(HEADER) + 1 :]]


def test_the_dearest_comes_first() -> None:
    assert names(TopState()) == ["redis-server", "sh"]


def test_names_are_chosen_by_globs_and_the_sums_stay_the_hosts() -> None:
    chosen = TWO.only(Comms(["re*", "x"]))
    assert names(TopState(), shown=chosen) == ["redis-server"]
    assert [each["comm"] for each in chosen.to_json()["processes"]] == ["redis-server"]
    assert chosen.forks == TWO.forks
    _, _, notes = lines(chosen, TopState(comms=("re*", "x")), "x")[:3]
    assert "; only re* or x; sorted by cost" in notes


@pytest.mark.parametrize(
    ("key", "first"),
    [
        *(("c", "redis-server"), ("d", "redis-server"), ("n", "redis-server")),
        *(("f", "sh"), ("x", "sh"), ("p", "sh")),
    ],
)
def test_a_key_sorts_otherwise(key: str, first: str) -> None:
    state = TopState(sort="name")
    state.press(key)
    assert names(state)[0] == first


def test_a_row_is_per_second_and_says_why() -> None:
    (row,) = [line for line in lines(TWO, TopState(), "x") if line.startswith("sh ")]
    fields = ("3.0", "8 ms", "12 ms", "2 ms", "12 KiB", "50%", "anon_vma 75%")
    assert all(field in row for field in fields)


@pytest.mark.parametrize(
    ("pids", "more", "told"),
    [
        ((), False, "-"),
        ((4_194_304,), False, "4194304"),
        ((1, 2), False, "2 PIDs"),
        (tuple(range(50)), True, "over 50"),
    ],
)
def test_a_row_tells_which_process_or_how_many(
    pids: tuple[int, ...], more: bool, told: str
) -> None:
    row = lines(
        window(replace(usage("sh", 10**6), pids=pids, more_pids=more)), TopState(), "x"
    )[-1]
    assert row.startswith(f"{'sh':<15} {told:>7} ")


def test_the_head_tells_the_whole_and_what_tracing_took() -> None:
    _, whole, notes = lines(window(lost=7), TopState(), "forktrace")[:3]
    assert "4.0 forks/s took 500 ms of each second, 50% of it copying" in whole
    assert "tracing took 0.8% of fork time" in notes
    assert "lost: 7 fork_slot" in notes


def test_the_head_names_the_largest_part_and_why_forks_failed() -> None:
    parts = {"mmap_lock": 3 * 10**8, "copy": 10**8}
    shown = replace(window(), parts=parts, failures={"EAGAIN": 2, "ENOMEM": 1})
    _, whole, notes = lines(shown, TopState(), "forktrace")[:3]
    assert "30% of it waiting for the parent's mmap_lock, 50% of it copying" in whole
    assert "failed: 2 EAGAIN, 1 ENOMEM" in notes


def test_a_row_tells_what_failed_and_what_needed_no_copy() -> None:
    busy = replace(usage("sh", 10**6), failed=3, vforks=Vforks(5, 10**9))
    (row,) = [each for each in lines(window(busy), TopState(), "x") if "sh " in each]
    assert row.endswith("anon_vma 75%, maybe_guard 25%; 3 failed; 2.5 vforks/s")


def test_a_name_typed_after_a_slash_filters_and_escape_takes_it_back() -> None:
    state = TopState()
    for key in "/redx\x7f\n":
        state.press(key)
    assert names(state) == ["redis-server"]
    for key in "/zzz\x1b":
        state.press(key)
    assert len(names(state)) == 2
    assert not state.quit


def test_space_pauses_h_helps_and_q_ends() -> None:
    state = TopState()
    state.press(" ")
    assert "paused" in lines(TWO, state, "x")[1]
    state.press("h")
    assert "q quit" in "\n".join(lines(TWO, state, "x"))
    state.press("q")
    assert state.quit


def marked(state: TopState, rows: int, shown: Window = TWO) -> list[str]:
    text = lines(shown, state, "forktrace", rows)
    return [line[4:].split()[0] for line in text if line.startswith("\x1b[7m")]


def test_the_selected_row_is_always_on_the_screen() -> None:
    many = window(*(usage(f"p{n:02}", 10**6 - n) for n in range(60)))
    state = TopState(cursor=True)
    assert marked(state, 24, many) == ["p00"]
    for keys, name in (
        (["down"] * 30, "p30"),
        (["page up"], "p20"),
        (["end"], "p59"),
        (["down"], "p59"),
        (["home", "up"], "p00"),
    ):
        for key in keys:
            state.press(key)
        assert marked(state, 24, many) == [name]
        assert lines(many, state, "forktrace", 24)[-1] == "and 41 more"


def test_a_name_that_is_gone_leaves_its_place_and_comes_back_to_it() -> None:
    three = window(usage("a", 3000), usage("b", 2000), usage("c", 1000))
    state = TopState(cursor=True)
    lines(three, state, "x")
    state.press("j")
    assert marked(state, 0, three) == ["b"]
    assert marked(state, 0, window(usage("a", 3000), usage("c", 1000))) == ["c"]
    assert marked(state, 0, window(usage("b", 3000), usage("c", 1000))) == ["b"]
    assert marked(state, 0, window()) == []


def test_a_filter_takes_letters_and_no_arrows() -> None:
    state = TopState(cursor=True)
    for key in ("/", "r", "up", "j"):
        state.press(key)
    assert state.comm == "rj"


def test_it_fits_80_columns_and_24_lines() -> None:
    many = window(*(usage(f"process-{n:07}", 10**6 + n) for n in range(60)))
    for state in (TopState(), TopState(help=True), TopState(help=True, cursor=True)):
        text = lines(many, state, "forktrace on 7.3 (fentry, branch)", 24)
        assert len(text) == 24
        assert text[-1].startswith("and ")
        assert all(len(line) <= 80 for line in text if "process-" not in line)


def test_without_a_fork_it_says_so() -> None:
    assert lines(window(), TopState(), "x")[-1] == "no fork yet"


def test_a_hostile_name_cannot_leave_its_line() -> None:
    text = lines(window(usage("a\n\x1b[2Jb", 1000)), TopState(), "x")
    assert all("\n" not in line and "\x1b" not in line for line in text)
