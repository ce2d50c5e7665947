"""Fetching what a batch answered: byte for byte, over broken transfers."""

from __future__ import annotations

import pytest

from rigs.workspace import Workspace, comes_through_broken_calls


@pytest.mark.parametrize(
    ("op", "action"),
    [
        ("content", "drop_reply"),
        ("content", "reset_midway"),
        ("content", "status:502"),
        ("delete", "status:500"),
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
