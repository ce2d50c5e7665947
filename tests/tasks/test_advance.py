"""How far a run comes by itself: further attempts, patience, and when it has had enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from configs.clock import SystemClock
from configs.errors import TerminalError
from configs.progress import SilentReporter
from rigs.clock import JumpingClock
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace, comes_through
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import ChunkState, Step
from tasks.orchestration.reporters import reporting_to
from tasks.runs.session import Run


@pytest.fixture
def two_hours_pass_when(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], None]:
    """Let a run's clock jump when something is so."""

    def make(due: Callable[[], bool]) -> None:
        clock = JumpingClock(due, timedelta(hours=2))
        monkeypatch.setattr("tasks.enrich.SystemClock", lambda: clock)

    return make


def test_a_run_that_has_had_its_time_publishes_what_it_has(
    workspace: Workspace, fast_faults: None, two_hours_pass_when: Callable[[Callable[[], bool]], None]
) -> None:
    def one_is_done() -> bool:
        return [c.state for c in workspace.ledger.chunks(workspace.run_id)].count(ChunkState.MERGED) == 1

    two_hours_pass_when(one_is_done)
    workspace.source(20)
    workspace.change("limits.max_requests", 10)
    workspace.faults("stuck:in_progress*1")
    workspace.change("run.give_up_after", "1h")
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 20, "succeeded": 10, "cancelled": 10}
    assert workspace.column("id") == [f"t-{n}" for n in range(20)]
    statuses = {
        workspace.service.client().batches.retrieve(batch.batch_id).status for batch in workspace.batches()
    }
    assert statuses == {"completed", "cancelled"}


def test_a_provider_that_does_not_answer_is_a_warning_and_not_a_failure(
    workspace: Workspace, fast_faults: None, two_hours_pass_when: Callable[[Callable[[], bool]], None]
) -> None:
    def it_is_silent() -> bool:
        return any(chunk.silent_since for chunk in workspace.ledger.chunks(workspace.run_id))

    two_hours_pass_when(it_is_silent)

    class Notes(SilentReporter):
        seen: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.seen.append(text)

    workspace.service.fault("retrieve", "status:503", times=9)
    workspace.change("run.warn_after", "1h")
    with reporting_to(Notes()):
        receipt = workspace.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    warnings = [note for note in Notes.seen if note.startswith("warning")]
    assert len(warnings) == 1
    assert "no proper answer for over 1h" in warnings[0]


@pytest.mark.parametrize("days", [3, -3])
def test_our_clock_that_is_wrong_cancels_no_batch_and_is_said_once(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    class Notes(SilentReporter):
        seen: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.seen.append(text)

    workspace.faults("status:in_progress:3")
    stopped_after_submitting(workspace, monkeypatch)
    right = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: right(clock) + timedelta(days=days))
    with reporting_to(Notes()):
        receipt = workspace.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert receipt["seconds"] >= 0
    assert workspace.paid() == {"1/1": 1}
    assert len([note for note in Notes.seen if "clock" in note]) == 1


@pytest.mark.parametrize(
    ("faults", "status", "unwanted"),
    [
        ("expire_after:0.5*1,nonce-on", "expired", "expired"),
        ("row_error:500:t-3*1,nonce-on", "failed", "transient"),
        ("null_counts,missing_lines*1,nonce-on", "missing", "missing"),
    ],
)
def test_only_the_reasons_that_the_job_names_are_retried(
    workspace: Workspace, fast_faults: None, faults: str, status: str, unwanted: str
) -> None:
    every = ["transient", "capacity", "expired", "cancelled", "missing"]
    workspace.change("retry.on", [reason for reason in every if reason != unwanted])
    workspace.faults(faults)
    workspace.run()
    assert workspace.statuses()[status] > 0
    assert workspace.paid() == {"1/1": 1}


def test_a_run_goes_on_under_the_options_of_the_job_file_as_it_is_now(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.faults("stuck:in_progress")
    stopped_after_submitting(workspace, monkeypatch)
    workspace.change("run.give_up_after", "1s")
    assert workspace.run()["rows"] == {"total": 10, "cancelled": 10}


@pytest.mark.parametrize(
    ("faults", "statuses", "paid"),
    [
        ("expire_after:0.9*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("cancel_after:0.5*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("expire_after:0*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("expire_after:0", {"expired": 10}, {"1/1": 1, "1/2": 1, "1/3": 1}),
    ],
)
def test_a_misbehaving_batch(
    workspace: Workspace,
    fast_faults: None,
    faults: str,
    statuses: dict[str, int],
    paid: dict[str, int] | None,
) -> None:
    comes_through(workspace, faults, statuses, paid)


def test_what_has_ended_is_fetched_although_another_chunk_stops_the_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import advance

    collect, look = (advance._STEPS[step] for step in (Step.COLLECT, Step.POLL))

    def collect_all_but_the_first(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        if chunk.number == 1:
            raise TerminalError("chunk 1: its results are gone")
        return collect(run, chunk)

    def look_until_it_has_ended(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        while (chunk := look(run, chunk)).state is ChunkState.SUBMITTED:
            run.clock.sleep(0.02)
        return chunk

    workspace.change("limits.max_requests", 5)
    stopped_after_submitting(workspace, monkeypatch, batches=2)
    monkeypatch.setitem(advance._STEPS, Step.COLLECT, collect_all_but_the_first)
    monkeypatch.setitem(advance._STEPS, Step.POLL, look_until_it_has_ended)
    clock = SystemClock()
    while any(
        chunk.not_before and clock.now() < chunk.not_before
        for chunk in workspace.ledger.chunks(workspace.run_id)
    ):
        clock.sleep(0.02)  # both may be looked at when the run goes on
    with pytest.raises(TerminalError, match="chunk 1"):
        workspace.run()
    assert [chunk.state for chunk in workspace.ledger.chunks(workspace.run_id)] == [
        ChunkState.ENDED,
        ChunkState.MERGED,
    ]


def test_nothing_more_is_posted_once_a_chunk_has_stopped_the_run(workspace: Workspace) -> None:
    workspace.change("limits.max_requests", 5)
    workspace.service.fault("create", "status:400")
    with pytest.raises(TerminalError, match="HTTP 400"):
        workspace.run()
    assert workspace.paid() == {}
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1, "2/1": 1}
