"""Posting a chunk through the genuine SDK, whatever the service does: each batch is paid once."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import LostReply
from rigs.interrupted import Stop
from rigs.opened_run import opened
from rigs.workspace import Workspace, comes_through, comes_through_broken_calls, everything_once
from tasks.ledger.transitions import ChunkState
from tasks.providers.base import BatchStatus, ServiceBatch
from tasks.providers.openai.compatible import OpenAICompatible
from tasks.runs.submission import adopt, confirm, intend


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


def test_every_batch_carries_the_jobs_description_on_one_line_and_it_may_change_any_time(
    workspace: Workspace,
) -> None:
    workspace.change("description", "Weekly\n  letters")
    workspace.service.fault("create", "drop_reply", times=1)
    workspace.run()
    assert sum(workspace.paid().values()) == 1, "it is found by its key all the same"
    key = f"{workspace.run_id}/1/1"
    (batch,) = [
        batch
        for batch in workspace.service.client().batches.list(limit=100)
        if (batch.metadata or {}).get("nightmail_key") == key
    ]
    about = {name: (batch.metadata or {})[name] for name in ("job", "run", "description")}
    assert about == {"job": "letters", "run": "k", "description": "Weekly letters"}
    workspace.change("description", "Letters of the week")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}


@pytest.mark.parametrize("meanwhile", ["nothing", "another is intended", "another has it"])
def test_a_batch_without_a_key_is_not_adopted_when_another_posting_may_have_made_it_meanwhile(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    workspace.change("limits.max_requests", 5)
    found = ServiceBatch("batch_1", BatchStatus.RUNNING)
    with opened(workspace) as run:
        sought, other = run.ledger.chunks()
        sought = intend(run, sought)

        def find(*_: Any) -> ServiceBatch:
            if meanwhile != "nothing":
                posted = intend(run, other)
                if meanwhile == "another has it":
                    confirm(run, posted, found, "created")
            return found

        monkeypatch.setattr(run.service, "find", find)
        if meanwhile == "nothing":
            adopted = adopt(run, sought)
            assert adopted is not None
            assert adopted.state is ChunkState.SUBMITTED
            return
        with pytest.raises(LostReply, match="batch_1 may be another posting's"):
            adopt(run, sought)
        assert run.ledger.chunk(1).state is ChunkState.INTENDED
