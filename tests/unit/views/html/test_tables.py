"""Tables: short ones, without columns in which nothing would stand."""

from __future__ import annotations

from forktrace.report.study import Study
from forktrace.views.html.tables import cgroup_label, group_table, trigger_table
from tests.unit.views.html.parts import Parts

CONTAINER = "0123456789abcdef" * 4
POD = "0f6b3c9d_1d2e_4c33_9b1a_77d0c8a1e5f2"


def test_a_long_table_ends_with_what_the_rest_cost(study: Study) -> None:
    parts = Parts(group_table("process", study.processes))
    assert len([tag for tag, _ in parts.tags if tag == "tr"]) == 1 + 15
    assert f"and {len(study.processes) - 15} more, which copied for " in parts.text


def test_a_column_without_anything_in_it_is_left_out(study: Study) -> None:
    assert "thrown away" in group_table("process", study.processes)
    assert "thrown away" not in group_table("cgroup", study.cgroups)


def test_a_trigger_tells_whether_anon_vma_would_have_done(study: Study) -> None:
    rows = trigger_table(study).split("<tr>")
    told = {
        name: [name in row and f">{also}</td>" in row for row in rows].count(True)
        for name, also in (("uffd_wp", "yes"), ("maybe_guard", "no"))
    }
    assert told == {"uffd_wp": 1, "maybe_guard": 1}


def test_ids_of_containers_lose_their_middle_and_are_whole_in_the_tooltip() -> None:
    name = f"/kubepods-pod{POD}.slice/cri-containerd-{CONTAINER}.scope"
    parts = Parts(cgroup_label(name))
    assert parts.text == (
        "/kubepods-pod0f6b3c9d_1d…e5f2.slice/cri-containerd-0123456789ab…cdef.scope"
    )
    assert parts.tags == [("span", {"title": name})]


def test_other_names_of_cgroups_stay_as_they_are() -> None:
    for name in ("/", "/system.slice/docker.service", f"/{'x' * 80}", "/a/<b>"):
        assert Parts(cgroup_label(name)).text == name
