"""Posting a chunk through the genuine SDK, whatever the service does: each batch is paid once."""

from __future__ import annotations

from typing import Any

import pytest

from rigs.interrupted import Stop
from rigs.workspace import Workspace, comes_through, comes_through_broken_calls, everything_once
from tasks.providers.openai.compatible import OpenAICompatible


@pytest.mark.parametrize(
    ("op", "action"),
    [
        ("upload", "drop_reply"),
        ("upload", "reset_before"),
        ("upload", "status:500"),
        ("upload", "status:429"),
        ("create", "drop_reply"),
        ("create", "reset_before"),
        ("create", "status:500"),
        ("create", "status:502"),
        ("create", "status:429"),
        ("list", "status:500"),
    ],
)
def test_a_broken_call_costs_time_and_nothing_else(
    workspace: Workspace, fast_faults: None, op: str, action: str
) -> None:
    comes_through_broken_calls(workspace, op, action)


def test_lost_replies_of_every_creating_call_at_once(workspace: Workspace, fast_faults: None) -> None:
    workspace.source(40)
    workspace.change("limits.max_requests", 10)
    before = {file.id for file in workspace.service.client().files.list()}
    workspace.service.fault("upload", "drop_reply", times=3)
    workspace.service.fault("create", "drop_reply", times=4)
    workspace.run()
    everything_once(workspace, 40)
    assert workspace.paid() == {"1/1": 1, "2/1": 1, "3/1": 1, "4/1": 1}
    assert {file.id for file in workspace.service.client().files.list()} == before


@pytest.mark.parametrize(
    ("faults", "statuses", "paid"),
    [
        ("fail:token_limit_exceeded:2", {"succeeded": 10}, {"1/1": 1, "1/1.2": 1, "1/1.3": 1}),
        ("fail:file_access:1", {"succeeded": 10}, {"1/1": 1, "1/1.2": 1}),
        ("fail:file_access:4", {"succeeded": 10}, {f"1/1{p}": 1 for p in ("", ".2", ".3", ".4", ".5")}),
        ("fail:mismatched_model:9", {"failed": 10}, {"1/1": 1}),
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


@pytest.mark.parametrize("how", ["reply lost", "process killed"])
def test_a_batch_that_is_listed_a_while_after_it_was_made_is_not_made_again(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    workspace.change("poll", {"first_seconds": 1, "max_seconds": 1})
    workspace.service.fault("list", "empty:0.7", times=99)
    if how == "reply lost":
        workspace.service.fault("create", "drop_reply")
    else:
        with monkeypatch.context() as patched, pytest.raises(Stop):
            create = OpenAICompatible.create

            def create_and_die(*given: Any) -> None:
                create(*given)
                raise Stop

            patched.setattr(OpenAICompatible, "create", create_and_die)
            workspace.run()
    receipt = workspace.run()
    workspace.service.forgive()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.paid() == {"1/1": 1}
