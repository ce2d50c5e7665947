"""Looking at a batch, whatever the service shows: the run waits for it and loses nothing."""

from __future__ import annotations

import pytest

from rigs.workspace import Workspace, comes_through, comes_through_broken_calls


@pytest.mark.parametrize(
    ("op", "action"),
    [
        ("retrieve", "drop_reply"),
        ("retrieve", "status:503"),
    ],
)
def test_a_broken_call_costs_time_and_nothing_else(
    workspace: Workspace, fast_faults: None, op: str, action: str
) -> None:
    comes_through_broken_calls(workspace, op, action)


@pytest.mark.parametrize(
    ("faults", "statuses", "paid"),
    [
        ("status:scheduling:2", {"succeeded": 10}, {"1/1": 1}),
        ("null_output_id:2", {"succeeded": 10}, {"1/1": 1}),
        ("empty_error_file", {"succeeded": 10}, {"1/1": 1}),
        ("error_id_empty_string", {"succeeded": 10}, {"1/1": 1}),
        ("null_counts", {"succeeded": 10}, {"1/1": 1}),
        ("zero_counts", {"succeeded": 10}, {"1/1": 1}),
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
