"""A run that passes its deadline is killed at every side effect of its own: the same rows, each asked once, within the caps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rigs.batch_service import BatchService
from rigs.killable_job import HurriedJob, KillableJob, kill_and_go_on, points_of
from rigs.real_time import real_time_provider, stop_services

pytestmark = pytest.mark.slow
STRIPES = 8  # so that several processes share the points; all of them take half an hour


@pytest.fixture
def new_hurried(
    new_case: Callable[..., KillableJob], session_batch_service: BatchService
) -> Iterator[Callable[[], HurriedJob]]:
    """Factory of cases; the services that make their real-time calls end with the test."""
    made: list[HurriedJob] = []
    with real_time_provider(session_batch_service) as provider:

        def make() -> HurriedJob:
            class Here(HurriedJob):
                def __init__(self, *given: Any) -> None:
                    super().__init__(*given, provider)

            case = new_case(kind=Here)
            assert isinstance(case, HurriedJob)
            made.append(case)
            return case

        yield make
        for case in made:
            stop_services(case.folder / "home")


def own_points_of(case: HurriedJob) -> list[tuple[int, str]]:
    """The side effects of an undisturbed run from its first poll on: what comes before is as of any run."""
    points = points_of(case)
    return points[next(at for at, what in points if what.startswith("before GET /v1/batches/")) :]


def kill_and_end(case: HurriedJob, point: int, what: str, *, lose_ledger: bool = False) -> list[str]:
    """As `kill_and_go_on`; the services of the case do not live until all cases are over."""
    killed = kill_and_go_on(case, point, what, lose_ledger=lose_ledger)
    stop_services(case.folder / "home")
    return killed


@pytest.mark.parametrize(
    "stripe", [pytest.param(stripe, marks=pytest.mark.soak if stripe else ()) for stripe in range(STRIPES)]
)
def test_a_run_killed_after_its_deadline_goes_on_and_asks_each_row_once(
    new_hurried: Callable[[], HurriedJob], record_property: Callable[[str, object], None], stripe: int
) -> None:
    mine = own_points_of(new_hurried())[stripe::STRIPES]
    killed = [kind for point, what in mine for kind in kill_and_end(new_hurried(), point, what)]
    record_property("killed", killed)
    assert len(killed) > 0.7 * len(mine)  # how often a batch is looked at before the deadline goes by time


def test_a_run_killed_after_its_deadline_that_lost_its_ledger_asks_each_row_once(
    new_hurried: Callable[[], HurriedJob], record_property: Callable[[str, object], None]
) -> None:
    some = own_points_of(new_hurried())[::12]
    killed = [
        kind for point, what in some for kind in kill_and_end(new_hurried(), point, what, lose_ledger=True)
    ]
    record_property("killed", killed)
    assert len(killed) > 5
