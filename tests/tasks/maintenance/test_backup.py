"""A ledger backed up in the middle of a run and put back after its end: every row once, each batch paid once."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fsspec.implementations.local import LocalFileSystem

from configs.errors import StorageError
from configs.home import Home
from rigs.command_line import nightmail
from rigs.interrupted import stopped_after_submitting
from rigs.ledger_files import let_go, lose
from rigs.postgres import MakeDatabase
from rigs.workspace import Workspace, everything_once
from tasks.ledger import database
from tasks.ledger.copying import copy_all
from tasks.ledger.transactions import Transactions
from tasks.maintenance import backup as module
from tasks.maintenance.backup import back_up

MoveAway = Callable[[], None]


@pytest.fixture(params=["sqlite", "postgresql"])
def move_away(
    request: pytest.FixtureRequest, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> MoveAway:
    """The workspace's ledger on either database; the call puts an empty one in its place."""
    if request.param == "sqlite":
        return lambda: lose(workspace.home.folder)
    make: MakeDatabase = request.getfixturevalue("postgres_url")

    def empty() -> None:
        monkeypatch.setenv("NIGHTMAIL_LEDGER_URL", make())
        workspace.home = Home.from_environment(os.environ)

    empty()
    return empty


@contextmanager
def backed_up(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """A backup at every state that the run and its first chunk come through, in order, by name."""
    made: dict[str, Path] = {}
    write, at_it = Transactions.write, []

    @contextmanager
    def write_and_back_up(self: Transactions) -> Iterator[Any]:
        with write(self) as connection:
            yield connection
        run = None if at_it else workspace.ledger.latest_run("letters", "k")
        if run is not None:
            chunks = workspace.ledger.chunks(run.id)[:1]
            words = [run.state, *(f"{chunk.state} {chunk.attempt}.{chunk.posting}" for chunk in chunks)]
            name = " ".join(words)
            if name not in made:
                made[name] = workspace.folder / f"backup-{len(made):02d}"
                at_it.append(name)
                back_up(workspace.home, made[name])
                at_it.clear()

    with monkeypatch.context() as patched:
        patched.setattr(Transactions, "write", write_and_back_up)
        yield made


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process takes more than its first 4 KiB: who writes further is told so, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line that a command ends with, and nothing else, when its code is as given."""

    def said(*words: str, code: int = 2) -> str:
        capsys.readouterr()
        assert nightmail(*words) == code
        out, line = capsys.readouterr()
        assert (out, len(line.splitlines())) == ("", 1)
        return line

    return said


@pytest.mark.slow
def test_a_backup_of_every_state_of_a_run_is_put_back_after_its_end_and_buys_nothing(
    workspace: Workspace, move_away: MoveAway, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.faults("fail:token_limit_exceeded:1,row_error:500:t-3*2")
    with backed_up(workspace, monkeypatch) as made:
        receipt = workspace.run()
    run_id, paid = workspace.run_id, workspace.paid()
    assert paid == {"1/1": 1, "1/1.2": 1, "1/2": 1}
    posting = {f"running {state} {at}" for state in ("uploaded", "submitted") for at in ("1.1", "1.2", "2.1")}
    ending = {f"running {state}" for state in ("collected 1.2", "merged 2.1")}
    others = {"preparing", "running prepared 1.1", "running intended 1.1", "finished merged 2.1"}
    assert {*posting, *ending, *others} <= made.keys()
    for name, folder in made.items():
        move_away()
        assert nightmail("restore", str(folder)) == 0, name
        again = workspace.run()
        everything_once(workspace)
        assert (workspace.run_id, workspace.paid(), again["rows"]) == (run_id, paid, receipt["rows"]), name
        assert workspace.files_left() == [], name


def test_a_run_goes_on_from_a_backup_of_before_it_posted(
    workspace: Workspace,
    fast_faults: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with backed_up(workspace, monkeypatch) as made:
        stopped_after_submitting(workspace, monkeypatch)
    lose(workspace.home.folder)
    assert nightmail("restore", str(made["running prepared 1.1"])) == 0
    assert capsys.readouterr().out == "1 run restored\nnot finished: letters k\n"
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    everything_once(workspace)
    assert workspace.paid() == {"1/1": 1}


@pytest.mark.slow
def test_a_backup_goes_from_one_database_into_the_other(
    workspace: Workspace, postgres_url: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_after_submitting(workspace, monkeypatch)
    there, and_back = workspace.folder / "there", workspace.folder / "back"
    assert nightmail("backup", str(there)) == 0
    monkeypatch.setenv("NIGHTMAIL_LEDGER_URL", postgres_url())
    assert nightmail("restore", str(there)) == 0
    assert nightmail("backup", str(and_back)) == 0
    monkeypatch.delenv("NIGHTMAIL_LEDGER_URL")
    lose(workspace.home.folder)
    assert nightmail("restore", str(and_back)) == 0
    workspace.run()
    everything_once(workspace)
    assert workspace.paid() == {"1/1": 1}


def test_answers_that_were_bought_since_the_backup_are_not_bought_again(workspace: Workspace) -> None:
    workspace.change("reuse", True)
    workspace.run(key="first")
    back_up(workspace.home, workspace.folder / "backup")
    workspace.source(12)
    workspace.run(key="second")
    lose(workspace.home.folder)
    assert nightmail("restore", str(workspace.folder / "backup")) == 0
    assert workspace.run(key="third")["rows"] == {"total": 12, "reused": 12}
    assert workspace.batches_of("third") == ()


def test_what_the_backup_does_not_know_is_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run(key="first")
    assert nightmail("backup", str(workspace.folder / "backup")) == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"{workspace.folder}/backup/ledger.db: 1 run\n")
    assert f"not in it: the run folders, {workspace.home.runs_url}" in said.err
    workspace.run()
    lose(workspace.home.folder)
    assert nightmail("restore", str(workspace.folder / "backup")) == 0
    said = capsys.readouterr()
    assert said.out == "1 run restored\n"
    assert "letters/k: this ledger does not know its run; run the job letters with --key k" in said.err


def test_a_backup_is_one_private_file_and_nothing_beside_it(workspace: Workspace) -> None:
    workspace.run()
    folder = workspace.folder / "backups" / "first"
    assert back_up(workspace.home, folder) == 1
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as ledger:
        assert ledger.execute("pragma journal_mode").fetchone() == ("delete",)
        assert ledger.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_ledger_that_was_moved_away_is_put_back_with_what_its_log_holds(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run(key="first")
    let_go(workspace.home.ledger_url)
    workspace.run()
    old = workspace.folder / "old"
    old.mkdir()
    for name in ("ledger.db", "ledger.db-wal"):
        shutil.copyfile(workspace.home.folder / name, old / name)
    before = {file.name: file.read_bytes() for file in old.iterdir()}
    assert len(before["ledger.db-wal"]) > 0
    run_id, paid = workspace.run_id, workspace.paid()
    lose(workspace.home.folder)
    capsys.readouterr()
    assert nightmail("restore", str(old)) == 0
    assert capsys.readouterr() == ("2 runs restored\n", "")
    workspace.run()
    assert (workspace.run_id, workspace.paid()) == (run_id, paid)
    assert {file.name: file.read_bytes() for file in old.iterdir()} == before


def test_nothing_is_restored_while_the_run_folders_cannot_be_reached(
    workspace: Workspace,
    error: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    stopped_after_submitting(workspace, monkeypatch)
    folder = str(workspace.folder / "backup")
    assert nightmail("backup", folder) == 0
    lose(workspace.home.folder)
    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "glob", refuse)
        assert f"{workspace.home.runs_url}: Connection refused" in error("restore", folder, code=3)
    assert not workspace.home.folder.joinpath("ledger.db").exists()
    assert nightmail("restore", folder) == 0
    assert capsys.readouterr().out == "1 run restored\nnot finished: letters k\n"


@pytest.mark.parametrize("full", ["from the start", "before the rows", "after the rows"])
def test_a_full_disk_of_the_backup_names_its_folder_and_leaves_nothing_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    workspace.run()
    folder = workspace.folder / "backup"
    with monkeypatch.context() as patched, ExitStack() as stack:

        def copied(*engines: Any) -> int:
            if full == "before the rows":
                stack.enter_context(full_disk())
            runs = copy_all(*engines)
            stack.enter_context(full_disk())
            return runs

        patched.setattr(module, "copy_all", copied)
        if full == "from the start":
            stack.enter_context(full_disk())
        with pytest.raises(
            StorageError, match=rf"^{folder}: no backup was written \(disk I/O error\); make room"
        ):
            back_up(workspace.home, folder)
    assert list(folder.iterdir()) == []
    assert back_up(workspace.home, folder) == 1


def test_an_interrupted_backup_is_not_called_a_full_disk(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CtrlC:
        def __conform__(self, _: object) -> None:
            raise KeyboardInterrupt

    def interrupted(_: sa.Engine, copy: sa.Engine) -> None:
        with copy.connect() as connection:
            connection.exec_driver_sql("select ?", (CtrlC(),))

    database.open_database(workspace.home.ledger_url)
    monkeypatch.setattr(module, "copy_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        back_up(workspace.home, workspace.folder / "backup")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("full", "File too large"),
        ("full once it is copied", "disk I/O error"),
        ("not there", "No such file or directory"),
        ("none", "No usable temporary directory"),
    ],
)
def test_a_temporary_folder_without_room_is_named_and_the_backup_is_not_called_damaged(
    workspace: Workspace,
    error: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    where: str,
    reason: str,
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory")

    database.open_database(workspace.home.ledger_url)
    folder, temporary = str(workspace.folder / "backup"), tmp_path_factory.mktemp("temporary")
    assert nightmail("backup", folder) == 0
    lose(workspace.home.folder)
    with monkeypatch.context() as patched, ExitStack() as stack:
        patched.setattr(tempfile, "tempdir", str(temporary / "x" if where == "not there" else temporary))
        if where == "full":
            stack.enter_context(full_disk())
        elif where == "full once it is copied":
            look = database.revisions

            def full_by_then(url: str) -> tuple[str | None, str | None]:
                stack.enter_context(full_disk())
                return look(url)

            patched.setattr(database, "revisions", full_by_then)
        elif where == "none":
            patched.setattr(tempfile, "tempdir", None)
            patched.setattr(tempfile, "gettempdir", none)
        line = error("restore", folder, code=3)
        named = "" if where == "none" else f" {tempfile.tempdir}"
    assert line.startswith(
        f"nightmail: temporary folder{named}: the backup cannot be copied there ({reason}), and nothing was restored;"
    )
    assert line.endswith("make room, or let TMPDIR name another folder\n")
    assert list(temporary.iterdir()) == []
    assert nightmail("restore", folder) == 0


def test_a_backup_that_may_not_be_read_is_named_with_the_reason(
    workspace: Workspace, error: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything: the system's answer is given instead."""
    file, opened = workspace.folder / "ledger.db", Path.open

    def refuse(path: Path, mode: str) -> Any:
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", refuse)
    assert f"{file}: cannot be read (Permission denied); correct" in error("restore", str(workspace.folder))


def test_errors_name_the_culprit_and_the_way_on(workspace: Workspace, error: Callable[..., str]) -> None:
    folder = workspace.folder / "backup"
    assert "there is none to back up" in error("backup", str(folder))
    assert not workspace.home.folder.exists()
    workspace.run()
    assert "there is no such backup; `nightmail backup DIR`" in error("restore", str(folder))
    assert nightmail("backup", str(folder)) == 0
    assert "is a backup already, and is not written over" in error("backup", str(folder))
    assert (
        "has runs already, and nothing is mixed into them; stop workers, sweeps, `nightmail webhooks`"
        in error("restore", str(folder))
    )
    lose(workspace.home.folder)
    for damaged in (b"no ledger at all", b""):
        (folder / "ledger.db").write_bytes(damaged)
        assert "cannot be restored: it is damaged, no backup" in error("restore", str(folder))
    assert nightmail("restore", str(folder)) == 2
    let_go(workspace.home.ledger_url)
    workspace.home.folder.joinpath("ledger.db").write_bytes(b"")
    assert "there is none to back up" in error("backup", str(workspace.folder / "other"))
