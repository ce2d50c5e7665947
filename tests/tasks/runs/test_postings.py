"""A ledger restored from a backup: what it does not remember was posted all the same, and is not posted again."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import IntegrityError
from rigs.interrupted import Stop, stopped_after_submitting
from rigs.ledger_files import backups, put_back
from rigs.workspace import Workspace, everything_once
from tasks.providers.openai.compatible import OpenAICompatible


@pytest.mark.slow
def test_a_ledger_restored_at_any_state_of_a_finished_run_buys_nothing_again(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.faults("fail:token_limit_exceeded:1,row_error:500:t-3*2")
    home = workspace.home.folder
    with backups(monkeypatch, home / "ledger.db", workspace.folder / "backups") as made:
        receipt = workspace.run()
    paid = workspace.paid()
    assert paid == {"1/1": 1, "1/1.2": 1, "1/2": 1}
    states = {
        f"{state} {number}" for state in ("intended", "uploaded", "submitted") for number in ("1 1", "2 1")
    }
    assert {f"running {state}" for state in states} | {"preparing", "running prepared 2 1"} <= made.keys()
    for name, backup in made.items():
        if name.startswith("no run"):
            continue
        put_back(backup, home)
        again = workspace.run()
        everything_once(workspace)
        assert (workspace.paid(), again["rows"]) == (paid, receipt["rows"]), name
        assert workspace.files_left() == [], name


@pytest.mark.parametrize("named", [True, False], ids=["its id was heard of", "its reply was lost"])
def test_a_ledger_restored_before_the_posting_of_a_killed_run_finds_the_batch(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    home = workspace.home.folder
    create = OpenAICompatible.create

    def create_and_die(*given: Any) -> Any:
        create(*given)
        raise Stop

    with backups(monkeypatch, home / "ledger.db", workspace.folder / "backups") as made:
        if named:
            stopped_after_submitting(workspace, monkeypatch)
        else:
            with monkeypatch.context() as patched, pytest.raises(Stop):
                patched.setattr(OpenAICompatible, "create", create_and_die)
                workspace.run()
    for state in ("preparing", "running prepared 1 1", "running intended 1 1", "running uploaded 1 1"):
        put_back(made[state], home)
        workspace.run()
        everything_once(workspace)
        assert workspace.paid() == {"1/1": 1}, state


def test_a_posting_again_that_a_restored_ledger_does_not_know_was_intended_when_its_copy_says(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By that time it is looked for: later, a batch whose reply was lost would not be among those that are found."""
    workspace.faults("fail:token_limit_exceeded:1")
    home, create, created = workspace.home.folder, OpenAICompatible.create, []

    def create_and_die_the_second_time(*given: Any) -> Any:
        created.append(create(*given))
        if len(created) == 2:
            raise Stop
        return created[-1]

    with (
        backups(monkeypatch, home / "ledger.db", workspace.folder / "backups") as made,
        monkeypatch.context() as patched,
        pytest.raises(Stop),
    ):
        patched.setattr(OpenAICompatible, "create", create_and_die_the_second_time)
        workspace.run()
    intended = workspace.batches()[-1].intended_at
    put_back(made["running ended 1 1"], home)
    workspace.run()
    everything_once(workspace)
    assert [batch.intended_at for batch in workspace.batches() if batch.posting == 2] == [intended]
    assert workspace.paid() == {"1/1": 1, "1/1.2": 1}


def test_a_run_that_goes_straight_on_looks_for_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("find", "find_upload", "list_batches", "list_files"):
        monkeypatch.setattr(OpenAICompatible, name, lambda *_, name=name: asked.append(name))
    workspace.run()
    everything_once(workspace)
    assert asked == []


def test_a_batch_that_was_posted_and_is_gone_at_the_provider_is_not_posted_again(
    workspace: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from configs.errors import NotFound, TerminalError

    home = workspace.home.folder
    with backups(monkeypatch, home / "ledger.db", workspace.folder / "backups") as made:
        workspace.run()

    def gone(*_: object) -> None:
        raise NotFound("batch b: HTTP 404: no such batch")

    monkeypatch.setattr(OpenAICompatible, "retrieve", gone)
    put_back(made["running prepared 1 1"], home)
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}, "its results are in the run folder"
    (copy,) = (home / "runs").rglob("posting-1-1.json")
    copy.write_text(copy.read_text().replace('"ended_at": "', '"unknown": "'))
    put_back(made["running prepared 1 1"], home)
    with pytest.raises(
        TerminalError, match=r"chunk 1: .*404.*nothing is posted again on a guess: another --key"
    ):
        workspace.run()
    copy.write_text("{")
    with pytest.raises(IntegrityError, match=r"posting-1-1.json: cannot be read .* or give another --key"):
        workspace.run(key="k")
    assert workspace.paid() == {"1/1": 1}
