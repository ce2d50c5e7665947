"""`--retry`: the unanswered rows of a finished run are asked again, the others are kept, and nobody pays twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from configs.errors import ConfigError
from flows.cli.main import main
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace

FAILING = "row_error:500:t-2|t-7"


@pytest.fixture
def finished(workspace: Workspace, fast_faults: None) -> Workspace:
    """A run whose first three batches failed two of ten rows, which took all of its attempts."""
    workspace.faults(f"{FAILING}*3")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 8, "failed": 2}
    assert workspace.paid() == {"1/1": 1, "1/2": 1, "1/3": 1}
    return workspace


def test_only_the_unanswered_rows_are_asked_and_the_output_is_whole(finished: Workspace) -> None:
    before = {row["id"]: row for row in finished.out.to_pylist()}
    receipt = finished.run(retry=True)
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert receipt["retryable"] == 0
    assert receipt["batches"] == {"posted": 4, "follow_ups": 3}
    assert finished.paid() == {"1/1": 1, "1/2": 1, "1/3": 1, "1/4": 1}
    assert [batch.requests for batch in finished.batches()] == [10, 2, 2, 2]
    after = {row["id"]: row for row in finished.out.to_pylist()}
    assert list(after) == [f"t-{n}" for n in range(10)]
    assert {row["llm_attempts"] for row in after.values() if row["id"] in ("t-2", "t-7")} == {4}
    kept = [name for name in after if name not in ("t-2", "t-7")]
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert receipt["tokens"]["input"] == sum(batch.input_tokens for batch in finished.batches())
    assert finished.files_left() == []


def test_it_is_one_more_round_of_attempts_each_time(workspace: Workspace, fast_faults: None) -> None:
    workspace.change("retry.max_attempts", 2)
    workspace.faults(FAILING)
    assert workspace.run()["retryable"] == 2
    for posted in (4, 6):
        receipt = workspace.run(retry=True)
        assert receipt["rows"] == {"total": 10, "succeeded": 8, "failed": 2}
        assert receipt["batches"]["posted"] == posted
    assert workspace.run()["batches"]["posted"] == 6
    assert set(workspace.paid().values()) == {1}


def test_only_chunks_with_unanswered_rows_are_posted_again(workspace: Workspace, fast_faults: None) -> None:
    workspace.source(20)
    workspace.change("limits.max_requests", 10)
    workspace.change("retry.max_attempts", 1)
    workspace.faults("row_error:500:t-12*2")
    workspace.run()
    workspace.run(retry=True)
    assert Counter(batch.chunk for batch in workspace.batches()) == {1: 1, 2: 2}
    assert workspace.column("id") == [f"t-{n}" for n in range(20)]
    assert workspace.statuses() == {"succeeded": 20}


@pytest.mark.parametrize("faults", ["", "row_error:400:t-2"], ids=["all answered", "the request's own fault"])
def test_where_asking_again_cannot_help_nothing_is_posted_or_published(
    workspace: Workspace, faults: str
) -> None:
    workspace.faults(faults)
    receipt = workspace.run()
    assert workspace.run(retry=True) == receipt
    assert workspace.paid() == {"1/1": 1}


def test_reasons_that_the_job_names_by_now_count(workspace: Workspace, fast_faults: None) -> None:
    workspace.change("retry", {"on": ["capacity"], "max_attempts": 2})
    workspace.faults("row_error:500:t-1*1,row_error:429:t-2*1")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 9, "failed": 1}
    workspace.change("retry", {"on": ["capacity", "transient"], "max_attempts": 2})
    assert workspace.run(retry=True)["rows"] == {"total": 10, "succeeded": 10}


def test_a_reason_that_is_added_while_a_follow_up_is_out_counts_too(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.change("retry.on", ["capacity"])
    workspace.faults("row_error:500:t-1*1,row_error:429:t-2*1")
    stopped_after_submitting(workspace, monkeypatch, batches=2)
    workspace.change("retry.on", ["capacity", "transient"])
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert set(workspace.paid().values()) == {1}


def test_a_run_that_has_not_begun_just_begins(workspace: Workspace) -> None:
    assert workspace.run(retry=True)["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1}


@pytest.mark.parametrize("typed", [{}, {"retry": True}], ids=["plain", "the same"])
def test_a_retry_that_is_interrupted_goes_on_with_either_command(
    finished: Workspace, monkeypatch: pytest.MonkeyPatch, typed: dict[str, Any]
) -> None:
    stopped_after_submitting(finished, monkeypatch, batches=4, retry=True)
    assert finished.statuses() == {"succeeded": 8, "failed": 2}, "what is published stays until there is more"
    assert finished.run(**typed)["rows"] == {"total": 10, "succeeded": 10}
    assert finished.paid() == {"1/1": 1, "1/2": 1, "1/3": 1, "1/4": 1}


def test_a_flow_run_retries_once_however_often_it_is_woken(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import enrich as flow
    from tasks.orchestration.current_run import FlowRunInfo

    workspace.change("retry.max_attempts", 1)
    workspace.faults(FAILING)
    workspace.run()
    for origin, posted in (("f-1", 2), ("f-1", 2), ("f-2", 3)):
        flow_run_info = FlowRunInfo(
            origin, deployed=True, scheduled=False, expected_start=None, started_at=None
        )
        monkeypatch.setattr(flow, "current_flow_run", lambda flow_run_info=flow_run_info: flow_run_info)
        assert workspace.run(retry=True)["batches"]["posted"] == posted
        assert workspace.ledger.latest_run("letters", "k").origin == origin


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("time", r"run.give_up_after is 1s, .* --set run.give_up_after=null"),
        ("folder", r"was deleted by .nightmail clean.*--redo"),
        ("source", r"has changed since this run read it; --snapshot"),
        ("redo", r"give one of the two"),
    ],
)
def test_what_cannot_be_retried_is_one_line_and_the_run_stays_finished(
    finished: Workspace, change: str, said: str, two_hours_later: Callable[[], None]
) -> None:
    asked = {"retry": True}
    if change == "time":
        finished.change("run.give_up_after", "1s")
        two_hours_later()
    elif change == "folder":
        for path in (finished.folder / "home/runs").rglob("rows.arrows"):
            path.unlink()
    elif change == "source":
        finished.source(12)
    else:
        asked["redo"] = True
    with pytest.raises(ConfigError, match=said):
        finished.run(**asked)
    assert finished.ledger.latest_run("letters", "k").state == "finished"
    assert sum(finished.paid().values()) == 3


def test_the_command_line_says_when_it_helps(
    workspace: Workspace, fast_faults: None, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.change("retry.max_attempts", 1)
    workspace.faults(f"{FAILING}*1")
    for options, code, hint in (([], 1, True), (["--retry"], 0, False)):
        with pytest.raises(SystemExit) as ended:
            main(["run", workspace.write(), "--key", "k", *options])
        assert ended.value.code == code
        said = capsys.readouterr().err
        assert ("2 rows may be answered when asked again: run the same command with --retry." in said) == hint
