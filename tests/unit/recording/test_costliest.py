"""Of many forks few are kept with their VMAs, and always those that matter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forktrace.recording.costliest import TOP, Costliest
from tests.unit.recording.samples import fork

pairs = st.tuples(
    st.integers(0, 50), st.integers(0, 50), st.sampled_from(["sh", "make", "java"])
)


@given(st.lists(pairs, max_size=60))
def test_the_costliest_in_the_end_were_kept(drawn: list[tuple[int, int, str]]) -> None:
    forks = [
        fork(number, duration, copy_ns=copied, comm=comm)
        for number, (duration, copied, comm) in enumerate(drawn)
    ]
    costliest = Costliest()
    kept = {each.child_pid for each in forks if costliest.keeps(each)}
    for key in ("duration_ns", "copy_ns"):
        ranked = sorted(forks, key=lambda each: -int(getattr(each, key)))
        assert {each.child_pid for each in ranked[:TOP]} <= kept
    for comm in {each.comm for each in forks}:
        own = [each for each in forks if each.comm == comm]
        assert own[0].child_pid in kept
        assert max(own, key=lambda each: each.copy_ns).child_pid in kept


def test_of_many_alike_few_are_kept() -> None:
    costliest = Costliest()
    kept = sum(costliest.keeps(fork(number)) for number in range(10_000))
    assert kept == TOP


def test_ever_new_names_do_not_go_on_for_ever() -> None:
    costliest = Costliest()
    forks = (fork(number, comm=f"job-{number}") for number in range(10_000))
    assert sum(map(costliest.keeps, forks)) == 256
