"""Kill it anywhere: at every side effect of a run, then run it again. Law 3 and law 2 of the house."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from rigs.killable_job import (
    KillableJob,
    PipelinedJob,
    ReadyRequestsJob,
    ReusingJob,
    kill_and_go_on,
    points_of,
)

pytestmark = pytest.mark.slow
# A request on its way or a rename under way cannot be called back; a transaction half done holds the lock.
_ALREADY_DONE = ("before POST", "inside the body of POST", "before commit", "os.r", "shutil")
STRIPES = 8  # so that several processes share the points; .ci/run takes every other one, -m soak the rest
PREPARING_STRIPES = 40  # all of them take half an hour


@pytest.mark.parametrize(
    "stripe",
    [pytest.param(stripe, marks=pytest.mark.soak if stripe % 2 else ()) for stripe in range(STRIPES)],
)
def test_a_run_killed_at_any_side_effect_goes_on_and_pays_once(
    new_case: Callable[[], KillableJob], record_property: Callable[[str, object], None], stripe: int
) -> None:
    mine = points_of(new_case())[stripe::STRIPES]
    killed = [kind for point, what in mine for kind in kill_and_go_on(new_case(), point, what)]
    record_property("killed", killed)
    # A batch is looked at once or twice, and its file may be deleted a call sooner or later: the last points come and go.
    assert len(killed) >= 0.9 * len(mine)


def test_a_run_that_was_killed_and_lost_its_ledger_goes_on_and_pays_once(
    new_case: Callable[[], KillableJob], record_property: Callable[[str, object], None]
) -> None:
    some = points_of(new_case())[::10]
    killed = [
        kind for point, what in some for kind in kill_and_go_on(new_case(), point, what, lose_ledger=True)
    ]
    record_property("killed", killed)
    assert len(killed) > 10


def test_a_retry_that_is_killed_goes_on_and_asks_once(
    new_case: Callable[[], KillableJob], record_property: Callable[[str, object], None]
) -> None:
    once = ["retry.max_attempts=1"]

    def finished() -> KillableJob:
        """The row that fails once is left unanswered."""
        case = new_case()
        assert case.run(given={"overrides": once})["exit"] == 0, case.log
        return case

    # With other params, so that the request is made anew.
    retry = {"overrides": [*once, "prompt.params.max_completion_tokens=500"], "retry": True}
    points = points_of(finished(), given=retry)
    # How it begins is its own; the rest is a follow-up like any other.
    some = points[:8] + points[8::10]
    killed = [kind for point, what in some for kind in kill_and_go_on(finished(), point, what, given=retry)]
    record_property("killed", killed)
    assert len(killed) >= 0.9 * len(some)


def test_a_run_that_takes_earlier_answers_over_is_killed_and_comes_to_the_same(
    new_case: Callable[..., KillableJob], record_property: Callable[[str, object], None]
) -> None:
    def second_night() -> KillableJob:
        return new_case(kind=ReusingJob)

    points = points_of(second_night())
    # What is its own: the index, opened while it is prepared and replaced when it is published. The rest is as of any run.
    own = [(point, what) for point, what in points if "reuse.index" in what or "lines.parquet" in what]
    some = sorted({*own, *points[::20]})
    killed = [kind for point, what in some for kind in kill_and_go_on(second_night(), point, what)]
    record_property("killed", killed)
    assert len(own) > 3
    assert len(killed) >= 0.9 * len(some)


def test_a_file_of_requests_that_is_killed_comes_back_whole_and_is_paid_once(
    new_case: Callable[..., KillableJob], record_property: Callable[[str, object], None]
) -> None:
    def posted() -> KillableJob:
        return new_case(kind=ReadyRequestsJob, faults="row_error:500:t-3*2/1")

    points = points_of(posted())
    # What is its own: rows and lines brought together when they are published. The rest is as of any run.
    own = [
        (point, what)
        for point, what in points
        if what.endswith((".part", ".jsonl")) and "requests" not in what
    ]
    assert len(own) > 3
    some = sorted({*own[-8:], *points[::25]})
    killed = [kind for point, what in some for kind in kill_and_go_on(posted(), point, what)]
    record_property("killed", killed)
    assert len(killed) >= 0.9 * len(some)


class ProcessesJob(KillableJob):
    """The same, with other processes to merge its chunks."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.tree["execution"] = {"processes": 4}
        self.write_job()


def kill_around_merges(
    new_case: Callable[..., KillableJob],
    choose: Callable[[list[tuple[int, str]], list[int]], list[tuple[int, str]]],
) -> list[str]:
    points = points_of(new_case(kind=ProcessesJob))
    adoptions = [point for point, what in points if what.startswith("os.rename chunks.")]
    assert len(adoptions) == len(KillableJob.PAID)
    some = choose(points, adoptions)
    killed = [
        kind for point, what in some for kind in kill_and_go_on(new_case(kind=ProcessesJob), point, what)
    ]
    assert len(killed) >= 0.9 * len(some)
    return killed


def test_a_run_whose_chunks_other_processes_merge_is_killed_and_pays_once(
    new_case: Callable[..., KillableJob], record_property: Callable[[str, object], None]
) -> None:
    def few(points: list[tuple[int, str]], adoptions: list[int]) -> list[tuple[int, str]]:
        return points[adoptions[0] - 1 : adoptions[0] + 2]

    record_property("killed", kill_around_merges(new_case, few))


@pytest.mark.soak
def test_a_run_whose_chunks_other_processes_merge_is_killed_anywhere(
    new_case: Callable[..., KillableJob], record_property: Callable[[str, object], None]
) -> None:
    def many(points: list[tuple[int, str]], adoptions: list[int]) -> list[tuple[int, str]]:
        around = {point for each in adoptions for point in range(each - 2, each + 4)}
        return [each for each in points if each[0] in around or each[0] % 15 == 0]

    record_property("killed", kill_around_merges(new_case, many))


def points_while_preparing(case: KillableJob) -> list[tuple[int, str]]:
    """The side effects of a run that posts before it has prepared its last range, until then: the rest is as of any run."""
    points = points_of(case)
    seen = [what for _, what in points]
    assert seen.count("before a range is recorded") == PipelinedJob.RANGES
    last = max(point for point, what in points if what == "before a range is recorded")
    assert "reply to POST /v1/batches" in seen[:last]
    return points[: last + 30]


@pytest.mark.parametrize(
    "stripe",
    [pytest.param(stripe, marks=pytest.mark.soak if stripe else ()) for stripe in range(PREPARING_STRIPES)],
)
def test_a_run_killed_while_ranges_are_prepared_and_posted_goes_on_and_pays_once(
    new_case: Callable[..., KillableJob], record_property: Callable[[str, object], None], stripe: int
) -> None:
    def pipelined() -> KillableJob:
        return new_case(kind=PipelinedJob)

    mine = points_while_preparing(pipelined())[stripe::PREPARING_STRIPES]
    killed = [kind for point, what in mine for kind in kill_and_go_on(pipelined(), point, what)]
    record_property("killed", killed)
    assert len(killed) >= 0.9 * len(mine)


@pytest.mark.soak
def test_a_run_killed_while_a_pool_prepares_its_ranges_goes_on_and_pays_once(
    new_case: Callable[..., KillableJob], record_property: Callable[[str, object], None]
) -> None:
    def pooled() -> KillableJob:
        return new_case(kind=PipelinedJob, processes=2)

    points = points_while_preparing(pooled())
    recorded = [point for point, what in points if what == "before a range is recorded"]
    some = [points[recorded[1]], points[recorded[-1] + 3]]
    killed = [kind for point, what in some for kind in kill_and_go_on(pooled(), point, what)]
    record_property("killed", killed)
    assert len(killed) == len(some)


class UnpaidJob(KillableJob):
    """One whose account cannot pay for a row at first: that is no attempt."""

    ATTEMPTS: ClassVar = (1,) * 7


def test_a_run_that_is_killed_in_a_pause_goes_on_and_pays_once(
    new_case: Callable[..., KillableJob], record_property: Callable[[str, object], None]
) -> None:
    def unpaid() -> KillableJob:
        return new_case(kind=UnpaidJob, faults="unpaid:t-3*1/1")

    points = points_of(unpaid())
    # From the merge that finds the row unpaid to the follow-up's creation is what this adds to the walk of any run.
    first = next(point for point, what in points if "requests-2.jsonl" in what)
    some = points[first - 8 : first + 40 : 3]
    killed = [kind for point, what in some for kind in kill_and_go_on(unpaid(), point, what)]
    record_property("killed", killed)
    assert len(killed) >= 0.9 * len(some)


def test_a_frozen_run_that_lost_its_lease_writes_nothing_when_it_wakes(
    new_case: Callable[[], KillableJob], record_property: Callable[[str, object], None]
) -> None:
    frozen: list[str] = []

    def one_transfer_at_a_time() -> (
        KillableJob
    ):  # another thread would be frozen inside a transaction now and then
        case = new_case()
        case.tree["execution"] = {"transfers": 1}
        case.write_job()
        return case

    for point, what in points_of(one_transfer_at_a_time())[::12]:
        case = one_transfer_at_a_time()
        first = case.run("freeze", point, lease_seconds=0.2, avoid=_ALREADY_DONE)
        if not first["stopped"]:
            continue
        frozen.append(case.kind)
        time.sleep(0.25)
        assert case.run(lease_seconds=30)["exit"] == 0, f"point {point}, {what}: {case.log}"
        case.check()
        before = snapshot(case)
        os.kill(first["pid"], signal.SIGCONT)
        until_gone(first["pid"])
        assert snapshot(case) == before, f"frozen at {case.struck}"
        case.check()
    record_property("frozen", frozen)
    assert len(frozen) > 5


def snapshot(case: KillableJob) -> tuple[dict[str, bytes], dict[str, int], list[str]]:
    """Ledger, run folder, output and provider as they are, but for what waits to be adopted: without the lease nobody does."""
    files = {
        str(p): p.read_bytes()
        for p in sorted(case.folder.rglob("*"))
        if p.is_file() and "ledger" not in p.name and "unfinished" not in p.parts
    }
    return files, case.paid(), case.files_left()


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    raise AssertionError("the woken run does not end")
