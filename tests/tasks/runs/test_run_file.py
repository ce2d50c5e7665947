"""A ledger that is gone: the run folder knows its run, which goes on where it was."""

from __future__ import annotations

import datetime

import pytest

from configs.errors import ConfigError
from configs.job import Source
from flows.cli.main import main
from rigs.interrupted import stopped_after_submitting
from rigs.ledger_files import let_go, lose
from rigs.workspace import Workspace, everything_once
from tasks.ledger.records import ChunkRecord, RunRecord
from tasks.ledger.transitions import ChunkState, RunState
from tasks.runs.run_file import read_run_file, write_run_file
from tasks.stages.read import source_fingerprint
from tasks.storage.run_folder import RunFolder


@pytest.mark.parametrize("how", ["deleted", "zero bytes"])
@pytest.mark.parametrize("when", ["waiting for its batches", "finished"])
def test_a_run_goes_on_although_its_ledger_is_gone(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    when: str,
) -> None:
    workspace.change("limits.max_requests", 4)
    if when == "finished":
        workspace.run()
    else:
        stopped_after_submitting(workspace, monkeypatch)
    run_id, paid = workspace.run_id, workspace.paid()
    lose(workspace.home.folder)
    if how == "zero bytes":
        (workspace.home.folder / "ledger.db").touch()
    with pytest.raises(SystemExit) as ended:
        main(["run", workspace.write(), "--key", "k"])
    assert ended.value.code == 0
    assert workspace.run_id == run_id
    assert workspace.paid() == paid == {"1/1": 1, "2/1": 1, "3/1": 1}
    everything_once(workspace)
    assert workspace.files_left() == []
    assert next(event.kind for event in workspace.ledger.history(run_id)) == "restored"


def test_a_redo_that_the_ledger_does_not_know_goes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.run()
    backup = workspace.folder / "backup.db"
    let_go(workspace.home.ledger_url)
    backup.write_bytes((workspace.home.folder / "ledger.db").read_bytes())
    stopped_after_submitting_again(workspace, monkeypatch)
    redo = workspace.run_id
    lose(workspace.home.folder)
    (workspace.home.folder / "ledger.db").write_bytes(backup.read_bytes())
    assert workspace.run(redo=True)["generation"] == 2
    assert (workspace.run_id, workspace.paid()) == (redo, {"1/1": 1})
    lose(workspace.home.folder)
    assert workspace.run()["generation"] == 2
    states = [(run.generation, run.state) for run in workspace.ledger.recent_runs()]
    assert sorted(states) == [(1, RunState.CANCELLED), (2, RunState.FINISHED)]


def stopped_after_submitting_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = workspace.run
    with monkeypatch.context() as patched:
        patched.setattr(workspace, "run", lambda: run(redo=True))
        stopped_after_submitting(workspace, monkeypatch)


def test_a_job_that_changed_since_needs_a_decision_as_ever(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_after_submitting(workspace, monkeypatch)
    lose(workspace.home.folder)
    workspace.change("prompt.user", "Sing {{ text }}")
    with pytest.raises(ConfigError, match="the job changed since this run began"):
        workspace.run()


@pytest.mark.parametrize("file", ["absent", "cut", "of another version", "of another run"])
def test_a_folder_that_does_not_say_whose_it_is_stops_the_run_with_the_way_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    stopped_after_submitting(workspace, monkeypatch)
    lose(workspace.home.folder)
    path = workspace.home.folder / "runs/letters/k/run.json"
    text = path.read_text()
    changed = {
        "absent": None,
        "cut": text[:100],
        "of another version": text.replace('"version": 1', '"version": 99'),
        "of another run": text.replace('"key": "k"', '"key": "j"'),
    }[file]
    if changed is None:
        path.unlink()
    else:
        path.write_text(changed)
    with pytest.raises(ConfigError, match=r"run folder .*letters/k: .*give another --key"):
        workspace.run()


def test_a_damaged_ledger_is_one_line_and_the_run_goes_on_when_it_is_moved_away(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_after_submitting(workspace, monkeypatch)
    run_id = workspace.run_id
    let_go(workspace.home.ledger_url)
    ledger = workspace.home.folder / "ledger.db"
    content = bytearray(ledger.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    ledger.write_bytes(content)
    for command in (["run", workspace.write(), "--key", "k"], ["status"], ["clean"]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert f"ledger {ledger}: is damaged" in said
        assert f"move {ledger}* away, " in said
        assert "and run the same command again" in said
        assert said.count("\n") == 1
    for path in ledger.parent.glob("ledger.db*"):
        path.rename(workspace.folder / path.name)
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    assert (workspace.run_id, workspace.paid()) == (run_id, {"1/1": 1})


def test_clean_names_folders_whose_runs_the_ledger_does_not_know(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_after_submitting(workspace, monkeypatch)
    lose(workspace.home.folder)
    for known in (False, True):
        if known:
            workspace.run()
        with pytest.raises(SystemExit) as ended:
            main(["clean"])
        assert ended.value.code == 0
        named = "runs/letters/k: this ledger does not know its run; run the job letters with --key k"
        assert (named in capsys.readouterr().err) == (not known)


def test_it_comes_back_as_it_was_written(workspace: Workspace) -> None:
    folder = RunFolder(str(workspace.folder / "run"))
    assert read_run_file(folder) is None
    now = datetime.datetime(2026, 11, 21, 22, 30, tzinfo=datetime.UTC)
    run = RunRecord(
        "r1", "letters", "k", 2, now.date(), RunState.PREPARING, {"name": "letters"}, {"a": [1]}, "letters/k@2",
        None, None, 0, None, None, None, 7, None, now, None,
    )  # fmt: skip
    chunks = tuple(
        ChunkRecord("r1", number, number * 5, 5, ChunkState.PREPARED, 1, 1, 4, 100, 25) for number in (1, 2)
    )
    fingerprint = source_fingerprint(Source(path=str(workspace.folder / "rows.parquet")))
    write_run_file(folder, run)
    assert read_run_file(folder) is None, "nothing is prepared yet"
    write_run_file(folder, run, chunks, fingerprint, 3)
    found = read_run_file(folder)
    assert found is not None
    assert (found.id, found.generation, found.logical_date, found.created_at) == ("r1", 2, now.date(), now)
    assert (found.chunks, found.source_fingerprint, found.bad_lines) == (chunks, fingerprint, 3)
