"""How long a run waits, what it does when it has had enough, and what it never does without being told."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.errors import ConfigError, TransientError
from configs.progress import Silent
from tasks import cancel
from tasks.cancel import cancel_run
from tasks.ledger import records
from tasks.maintenance.sweep import sweep_up
from tasks.orchestration.reporters import reporting_to
from tasks.orchestration.server_runs import NoServer
from tasks.providers.openai.compatible import OpenAICompatible


class Stop(Exception):
    """Stands for a process that ends here."""


def stopped_after_submitting(works: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the batches are posted, and no further."""
    from flows import enrich as flow

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(flow, "sleep_until", stop)
        with pytest.raises(Stop):
            works.run()


def test_a_run_that_has_had_its_time_publishes_what_it_has(works: Any, fast_faults: None) -> None:
    works.source(20)
    works.change("limits.max_requests", 10)
    works.faults("stuck:in_progress*1")
    works.change("run.give_up_after", "2s")
    receipt = works.run()
    assert receipt["rows"] == {"total": 20, "succeeded": 10, "cancelled": 10}
    assert works.column("id") == [f"t-{n}" for n in range(20)]
    statuses = {works.service.client().batches.retrieve(batch.batch_id).status for batch in works.batches()}
    assert statuses == {"completed", "cancelled"}


def test_a_run_that_gives_up_before_posting_says_so_in_every_row(works: Any) -> None:
    works.service.fault("upload", "status:500", times=1000)
    works.change("run.give_up_after", "1s")
    receipt = works.run()
    works.service.forgive()
    assert receipt["rows"] == {"total": 10, "cancelled": 10}
    assert "gave up" in works.column("llm_error_message")[0]
    assert works.paid() == {}


@pytest.mark.parametrize(
    ("where", "paid"),
    [("validating", {"1/1": 1, "1/2": 1}), ("in_progress", {"1/1": 1, "1/2": 1}), ("finalizing", {"1/1": 1})],
)
def test_a_batch_stuck_past_its_window_is_cancelled_and_only_what_it_lacks_is_posted_again(
    works: Any, fast_faults: None, monkeypatch: pytest.MonkeyPatch, where: str, paid: dict[str, int]
) -> None:
    monkeypatch.setattr(
        records, "OVERDUE_AFTER", -datetime.timedelta(hours=24) + datetime.timedelta(seconds=1)
    )
    works.faults(f"stuck:{where}*1,nonce-overdue")
    works.run()
    assert works.statuses() == {"succeeded": 10}
    assert works.paid() == paid


def test_a_provider_that_does_not_answer_is_a_warning_and_not_a_failure(
    works: Any, fast_faults: None
) -> None:
    class Notes(Silent):
        seen: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.seen.append(text)

    works.service.fault("retrieve", "status:503", times=9)
    works.change("run.warn_after", "1s")
    with reporting_to(Notes()):
        receipt = works.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    warnings = [note for note in Notes.seen if note.startswith("warning")]
    assert len(warnings) == 1
    assert "no proper answer for over 1s" in warnings[0]


@pytest.mark.parametrize(
    ("faults", "status", "unwanted"),
    [
        ("expire_after:0.5*1,nonce-on", "expired", "expired"),
        ("row_error:500:t-3*1,nonce-on", "failed", "transient"),
        ("missing_lines*1,nonce-on", "missing", "missing"),
    ],
)
def test_only_the_reasons_that_the_job_names_are_retried(
    works: Any, fast_faults: None, faults: str, status: str, unwanted: str
) -> None:
    every = ["transient", "capacity", "expired", "cancelled", "missing"]
    works.change("retry.on", [reason for reason in every if reason != unwanted])
    works.faults(faults)
    works.run()
    assert works.statuses()[status] > 0
    assert works.paid() == {"1/1": 1}


def test_a_run_goes_on_under_the_options_of_the_job_file_as_it_is_now(
    works: Any, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.faults("stuck:in_progress")
    stopped_after_submitting(works, monkeypatch)
    works.change("run.give_up_after", "1s")
    assert works.run()["rows"] == {"total": 10, "cancelled": 10}


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_source_that_changed_under_an_unfinished_run_needs_a_decision(
    works: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stopped_after_submitting(works, monkeypatch)
    if how == "gone":
        (works.folder / "rows.parquet").unlink()
    else:
        works.source(12)
    with pytest.raises(
        ConfigError, match=r"(has changed|is gone) since this run read it; --snapshot .* --key"
    ):
        works.run()
    receipt = works.run(snapshot=True)
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert works.paid() == {"1/1": 1}


def fall_asleep(*_: object) -> None:
    """Sleep as a worker's process does: it ends, and another begins."""
    raise Stop


@pytest.mark.parametrize("sleep", [cancel.sleep_until, fall_asleep])
def test_a_cancelled_run_publishes_what_was_answered_when_the_job_says_so_and_goes_on_later(
    works: Any, monkeypatch: pytest.MonkeyPatch, sleep: Callable[..., None]
) -> None:
    works.source(20)
    works.change("limits.max_requests", 10)
    works.change("run.publish_cancelled", True)
    works.faults("stuck:in_progress*1")
    stopped_after_submitting(works, monkeypatch)
    monkeypatch.setattr(cancel, "sleep_until", sleep)
    for _ in range(100):
        with suppress(Stop):
            lines = cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
            break
    assert any("is being cancelled" in line for line in lines)
    assert works.statuses() == {"succeeded": 10, "cancelled": 10}
    receipt = works.run()
    assert receipt["rows"] == {"total": 20, "succeeded": 20}
    assert works.paid() == {"1/1": 1, "1/2": 1, "2/1": 1}


def test_a_finished_run_cannot_be_cancelled(works: Any) -> None:
    works.run()
    assert "nothing to cancel" in cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())[0]


def test_rows_of_a_cancelled_batch_have_not_had_their_attempt(
    works: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.change("retry.max_attempts", 1)
    works.faults("stuck:in_progress*1")
    stopped_after_submitting(works, monkeypatch)
    cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
    assert works.run()["rows"] == {"total": 10, "succeeded": 10}
    assert works.paid() == {"1/1": 1, "1/2": 1}


def test_a_batch_that_a_cancel_did_not_reach_is_cancelled_by_a_sweep(
    works: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.faults("stuck:in_progress*1")
    stopped_after_submitting(works, monkeypatch)
    works.service.fault("cancel", "status:500")
    with pytest.raises(TransientError):
        cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
    swept = sweep_up(works.home, os.environ, SystemClock(), NoServer())
    (batch,) = works.batches()
    assert f"letters k: cancelled batch {batch.batch_id}: open, and nobody waits for it" in swept.done[0]
    assert works.service.wait(batch.batch_id).status == "cancelled"
    assert works.run()["rows"] == {"total": 10, "succeeded": 10}


@pytest.mark.parametrize("how", ["reply lost", "process killed"])
def test_a_batch_that_is_listed_a_while_after_it_was_made_is_not_made_again(
    works: Any, fast_faults: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    works.change("poll", {"first_seconds": 1, "max_seconds": 1})
    works.service.fault("list", "empty:0.7", times=99)
    if how == "reply lost":
        works.service.fault("create", "drop_reply")
    else:
        with monkeypatch.context() as patched, pytest.raises(Stop):
            create = OpenAICompatible.create

            def create_and_die(*given: Any) -> None:
                create(*given)
                raise Stop

            patched.setattr(OpenAICompatible, "create", create_and_die)
            works.run()
    receipt = works.run()
    works.service.forgive()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert works.paid() == {"1/1": 1}


@pytest.mark.parametrize("action", ["drop_reply", "status:500"])
def test_a_cancel_that_is_not_heard_says_so_and_can_be_repeated(
    works: Any, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    works.faults("stuck:in_progress*1")
    stopped_after_submitting(works, monkeypatch)
    works.service.fault("cancel", action, times=1)
    with pytest.raises(TransientError, match="may still cost money, run the same command again"):
        cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
    cancel_run(works.home, os.environ, SystemClock(), "letters/k", Silent())
    (batch,) = works.batches()
    assert works.service.wait(batch.batch_id).status == "cancelled"
    assert works.run()["rows"] == {"total": 10, "succeeded": 10}
