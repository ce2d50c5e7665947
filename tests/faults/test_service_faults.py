"""A service that misbehaves while a reply is lost or a run is killed: rows once, batches paid once, nothing deleted unread."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rigs.killable_job import KillableJob

pytestmark = pytest.mark.slow

DAMAGES = ("web_page", "cut_at_line", "cut_in_line", "wrong_length", "cut_gzip")
# What is not whole is here, and nobody has noted it.
_THROWN_AWAY = r"os\.remove \.?results-1-0"


@pytest.mark.parametrize(
    ("op", "damage"), [*(("content", damage) for damage in DAMAGES), ("retrieve", "other_batch")]
)
def test_a_damaged_reply_after_a_lost_one_costs_time_and_nothing_else(
    new_case: Callable[..., KillableJob], op: str, damage: str
) -> None:
    case = new_case()
    case.service.fault("create", "drop_reply", times=2)
    case.service.fault(op, damage, times=2)
    assert case.run()["exit"] == 0, case.log
    case.check()


@pytest.mark.parametrize(
    ("op", "damage", "at"),
    [
        *(("content", damage, _THROWN_AWAY) for damage in DAMAGES),
        ("retrieve", "other_batch", "reply to GET /v1/batches/"),
    ],
)
def test_a_run_killed_over_a_damaged_reply_asks_again_and_has_deleted_nothing(
    new_case: Callable[..., KillableJob],
    record_property: Callable[[str, object], None],
    op: str,
    damage: str,
    at: str,
) -> None:
    case = new_case()
    case.service.fault(op, damage, times=2)
    killed_before_a_deletion(case, at)
    record_property("killed", [case.kind])
    assert case.run()["exit"] == 0, case.log
    case.check()


LOST_REPLY, KILLED = "reply lost", "killed"


@pytest.mark.parametrize("how", [LOST_REPLY, KILLED])
@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ("foreign_ids", "none of its lines is for a row that was posted"),
        ("missing_lines", "rows that it counts"),
    ],
)
def test_a_provider_that_counts_more_than_it_gives_stops_every_run_over_one_purchase(
    new_case: Callable[..., KillableJob], how: str, faults: str, reason: str
) -> None:
    case = new_case(faults=faults)
    interrupted(case, how)
    for _ in range(2):
        assert case.run()["exit"] == 3
        assert reason in case.log
        assert "\n" not in case.log
    assert set(case.paid().values()) == {1}
    assert deletions(case, lambda: case.run()) == 0
    assert len(case.files_left()) >= 4  # the requests and the results of both chunks


@pytest.mark.parametrize("how", [LOST_REPLY, KILLED])
def test_rows_without_a_line_or_a_count_are_asked_again_once(
    new_case: Callable[..., KillableJob], how: str
) -> None:
    case = new_case(faults="missing_lines*1/1,null_counts")
    interrupted(case, how)
    assert case.run()["exit"] == 0, case.log
    case.check(asked_twice=None)


def interrupted(case: KillableJob, how: str) -> None:
    """A run that is killed over its results; or the reply to the creation of each batch is lost in the next one."""
    if how == KILLED:
        killed_before_a_deletion(case, _THROWN_AWAY)
    else:
        case.service.fault("create", "drop_reply", times=2)


def killed_before_a_deletion(case: KillableJob, at: str) -> None:
    """A run that is killed there, and has deleted nothing at the service."""
    assert deletions(case, lambda: case.run("kill", 0, at=at)) == 0
    assert case.struck


def deletions(case: KillableJob, during: Callable[[], object]) -> int:
    """Calls that delete a file at the service meanwhile."""
    before = case.service.stats()["requests"].get("delete", 0)
    during()
    after = case.service.stats()["requests"].get("delete", 0)
    return int(after - before)
