"""Fetching what a batch answered: byte for byte, over broken transfers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from configs.errors import TerminalError
from rigs.workspace import Workspace, comes_through_broken_calls


@pytest.mark.parametrize(
    ("op", "action"),
    [
        ("content", "drop_reply"),
        ("content", "close_midway"),
        ("content", "status:502"),
        ("delete", "status:500"),
        ("content", "web_page"),
        ("content", "cut_at_line"),
        ("content", "cut_in_line"),
        ("content", "wrong_length"),
        ("content", "cut_gzip"),
        ("retrieve", "web_page"),
        ("retrieve", "other_batch"),
    ],
)
def test_a_broken_call_costs_time_and_nothing_else(
    workspace: Workspace, fast_faults: None, op: str, action: str
) -> None:
    comes_through_broken_calls(workspace, op, action)


def test_awkward_characters_come_back_byte_for_byte(workspace: Workspace) -> None:
    from tasks.local_batch.faults.corrupt_answers import AWKWARD

    workspace.faults("raw_u2028")
    workspace.run()
    assert all(AWKWARD in answer for answer in workspace.column("llm_answer"))
    assert all(mark in AWKWARD for mark in "\u2028\u2029\u0085\r\0")


def test_a_batch_refused_for_a_line_names_the_row(workspace: Workspace, fast_faults: None) -> None:
    workspace.faults("fail:model_not_found:9")
    workspace.run()
    assert set(workspace.column("llm_error_code")) == {"model_not_found"}
    assert "custom_id t-0" in workspace.column("llm_error_message")[0]


def stopped(workspace: Workspace) -> str:
    """The one line with which a run stops and asks: one batch was paid, and nothing was deleted at the provider."""
    with pytest.raises(TerminalError) as caught:
        workspace.run()
    assert "\n" not in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert workspace.paid() == {"1/1": 1}
    assert workspace.files_left()
    return str(caught.value)


@pytest.mark.parametrize(
    ("op", "damage", "reason"),
    [
        ("content", "web_page", "a web page came instead"),
        ("content", "cut_at_line", "lines for 9 of 10 rows"),
        ("content", "cut_gzip", "ends too early"),
        ("content", "close_midway", "bytes, too early"),
        ("retrieve", "other_batch", "about another one"),
    ],
)
def test_what_stays_damaged_stops_the_run_and_is_fetched_when_it_is_run_again(
    workspace: Workspace, fast_faults: None, op: str, damage: str, reason: str
) -> None:
    workspace.service.fault(op, damage, times=99)
    assert reason in stopped(workspace)
    workspace.service.forgive()
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1}
    assert workspace.files_left() == []


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ("foreign_ids", "none of its lines is for a row that was posted"),
        ("missing_lines", "lines for 9 of 10 rows that it counts"),
    ],
)
def test_a_provider_that_counts_more_than_it_gives_stops_the_run_after_the_first_purchase(
    workspace: Workspace, fast_faults: None, faults: str, reason: str
) -> None:
    workspace.faults(faults)
    assert reason in stopped(workspace)


def test_what_there_is_is_published_on_request_and_the_rest_stays_at_the_provider(
    workspace: Workspace, fast_faults: None, two_hours_later: Callable[[], None]
) -> None:
    workspace.faults("missing_lines")
    stopped(workspace)
    two_hours_later()
    workspace.run(overrides=["run.give_up_after=1s"])
    assert workspace.statuses() == {"succeeded": 9, "failed": 1}
    assert "results_incomplete" in workspace.column("llm_error_code")
    assert workspace.paid() == {"1/1": 1}
    assert workspace.files_left()
