"""`nightmail clean`: what is left of runs that are over goes, everything else stays."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from configs.errors import NightmailError
from flows.cli import maintain
from flows.cli.main import main
from rigs.batch_service import KEY, StartBatchService
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.ledger.transitions import RunState
from tasks.maintenance import cleanup

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"x"}]}}\n'


class Bench:
    """A workspace whose runs leave things behind, and the command that cleans up."""

    def __init__(self, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        self.workspace = workspace
        self.capsys = capsys
        self.client = workspace.service.client()
        self.made_files: list[str] = []
        self.made_batches: list[str] = []

    @property
    def run_id(self) -> str:
        """The latest run of the job."""
        run = self.workspace.ledger.latest_run("letters", "k")
        assert run is not None
        return str(run.id)

    def finish(self, state: RunState = RunState.FINISHED) -> str:
        """A finished run; or, for what only depends on its state, one that is written to be in another."""
        self.workspace.run()
        if state is not RunState.FINISHED:
            self.set_state(state)
        return self.run_id

    def set_state(self, state: RunState) -> None:
        """Write a run's state as if it had come that far."""
        ledger = self.workspace.ledger
        held = ledger.claim(self.run_id, "test/x/1/1", 60, lambda _: False)
        held.update_run(state=state)
        held.release()

    def file(self, name: str) -> str:
        """An upload made by hand."""
        made = self.client.files.create(file=(name, LINE), purpose="batch")
        self.made_files.append(made.id)
        return str(made.id)

    def batch(self, key: str | None, faults: str = "stuck:in_progress") -> Any:
        """A batch made by hand; stuck until it is cancelled, unless told otherwise."""
        metadata = {"nightmail_faults": faults, **({"nightmail_key": key} if key else {})}
        made = self.client.batches.create(
            input_file_id=self.file("by-hand.jsonl"),
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata=metadata,
        )
        self.made_batches.append(made.id)
        return made

    def status(self, batch_id: str) -> str:
        """As the service says."""
        return str(self.client.batches.retrieve(batch_id).status)

    def there(self) -> set[str]:
        """Ids of all files at the service."""
        return {file.id for file in self.client.files.list()}

    def clean(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The command's JSON."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["clean", "--json", *words])
        said = self.capsys.readouterr()
        assert ended.value.code == code, said.err
        return dict(json.loads(said.out))

    def found(self, *words: str, code: int = 0) -> dict[str, str]:
        """What the command lists: id to kind."""
        return {item["id"]: item["kind"] for item in self.clean(*words, code=code)["leftovers"]}


@pytest.fixture
def bench(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Iterator[Bench]:
    made = Bench(workspace, capsys)
    yield made
    workspace.service.forgive()
    for batch_id in made.made_batches:
        if made.status(batch_id) in ("validating", "in_progress"):
            made.client.batches.cancel(batch_id)
    for file_id in made.made_files:
        if file_id in made.there():
            made.client.files.delete(file_id)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Let the command believe that much time has passed."""

    def move(by: timedelta) -> None:
        class Later:
            def now(self) -> datetime:
                return datetime.now(UTC) + by

        monkeypatch.setattr(maintain, "SystemClock", Later)

    return move


def stop_while_posted(workspace: Workspace, faults: str = "stuck:in_progress") -> None:
    """Start a run, and cancel it once its batch is at the provider."""
    workspace.faults(faults)

    def run() -> None:
        with pytest.raises(NightmailError):
            workspace.run()

    runner = threading.Thread(target=run)
    runner.start()
    deadline = datetime.now(UTC) + timedelta(seconds=120)
    while not (workspace.ledger.latest_run("letters", "k") and any(b.batch_id for b in workspace.batches())):
        assert datetime.now(UTC) < deadline
        threading.Event().wait(0.02)
    assert cancel(workspace)
    runner.join(120)


def cancel(workspace: Workspace) -> list[str]:
    """`nightmail cancel`, without its output."""
    import os

    from configs.clock import SystemClock
    from configs.progress import SilentReporter

    return cancel_run(workspace.home, os.environ, SystemClock(), "letters/k", SilentReporter())


def test_without_a_ledger_there_is_nothing_and_none_is_made(bench: Bench) -> None:
    assert bench.found("--yes") == {}
    assert not (bench.workspace.folder / "home").exists()


def test_a_run_that_tidied_up_leaves_nothing(bench: Bench) -> None:
    bench.finish()
    assert bench.found() == {}


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.CANCELLED])
def test_files_batches_and_results_of_a_run_that_is_over_are_shown_then_removed_once(
    bench: Bench, state: RunState
) -> None:
    run = bench.finish(state)
    upload = bench.file(f"nightmail-{run}-1-1.jsonl")
    second = bench.file(f"nightmail-{run}-12-3.2.jsonl")
    done = bench.workspace.service.wait(bench.batch(f"{run}/1/1", faults="").id)
    orphan = bench.batch(f"{run}/1/1")
    expected = {upload: "file", second: "file", done.output_file_id: "file", orphan.id: "batch"}
    before = bench.there()
    assert bench.found() == expected
    assert bench.there() == before
    assert bench.status(orphan.id) == "in_progress"
    assert "cleaned" not in {event.kind for event in bench.workspace.ledger.history(run)}

    removed = bench.clean("--yes")
    assert {item["id"]: item["kind"] for item in removed["leftovers"]} == expected
    assert removed["totals"] == {"batch": 1, "file": 3, "folder": 0}
    assert removed["removed"] is True
    assert before - bench.there() == {upload, second, done.output_file_id}
    bench.workspace.service.wait(orphan.id)
    assert bench.status(orphan.id) == "cancelled"
    assert "cleaned" in {event.kind for event in bench.workspace.ledger.history(run)}
    # What the orphan had answered when it was cancelled comes as files a little later.
    assert set(bench.found("--yes").values()) <= {"file"}
    assert bench.found("--yes") == {}


def test_files_that_are_not_ours_are_not_even_listed(bench: Bench) -> None:
    run = bench.finish()
    names = (
        "nightmail-0123456789-1-1.jsonl",
        f"{run}.jsonl",
        f"my-nightmail-{run}-1-1.jsonl",
        f"nightmail-{run}.jsonl",
    )
    theirs = {bench.file(name) for name in names}
    assert bench.found("--yes") == {}
    assert theirs <= bench.there()


def test_batches_that_are_not_ours_and_their_results_are_not_even_listed(bench: Bench) -> None:
    run = bench.finish()
    keys = (None, "0123456789/1/1", f"{run}0/1/1")
    stuck = [bench.batch(key) for key in keys]
    done = [bench.workspace.service.wait(bench.batch(key, faults="").id) for key in keys]
    assert bench.found("--yes") == {}
    assert {bench.status(batch.id) for batch in stuck} == {"in_progress"}
    assert {batch.output_file_id for batch in done} <= bench.there()


def test_a_run_that_is_going_on_is_left_alone(bench: Bench) -> None:
    run = bench.finish()
    upload = bench.file(f"nightmail-{run}-1-1.jsonl")
    stuck = bench.batch(f"{run}/1/1")
    for state in (RunState.PREPARING, RunState.RUNNING, RunState.PUBLISHING):
        bench.set_state(state)
        assert bench.found("--yes") == {}
    assert upload in bench.there()
    assert bench.status(stuck.id) == "in_progress"


def test_a_run_that_somebody_went_on_with_since_the_look_is_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.finish(RunState.CANCELLED)
    upload = bench.file(f"nightmail-{run}-1-1.jsonl")
    look = cleanup.leftovers_at_provider

    def look_and_be_overtaken(*args: Any) -> list[Any]:
        found = list(look(*args))
        bench.set_state(RunState.RUNNING)
        return found

    monkeypatch.setattr(cleanup, "leftovers_at_provider", look_and_be_overtaken)
    done = bench.clean("--yes")
    assert done["leftovers"] == []
    assert "somebody went on with it" in done["notes"][0]
    assert upload in bench.there()


def test_a_cancelled_run_that_somebody_holds_is_left_alone(bench: Bench) -> None:
    run = bench.finish(RunState.CANCELLED)
    upload = bench.file(f"nightmail-{run}-1-1.jsonl")
    bench.workspace.ledger.claim(run, "elsewhere/other/1/1", 60, lambda _: False)
    assert bench.found("--yes") == {}
    assert upload in bench.there()


def test_what_a_cancelled_run_has_paid_for_and_not_fetched_yet_is_kept_for_it(bench: Bench) -> None:
    workspace = bench.workspace
    workspace.source(20)
    stop_while_posted(workspace, "stuck:in_progress*1")
    (batch,) = workspace.batches()
    done = workspace.service.wait(batch.batch_id)
    assert done.status == "cancelled"
    orphan = bench.batch(f"{bench.run_id}/1/1")
    found = bench.found("--yes")
    assert found == {batch.file_id: "file", orphan.id: "batch"}  # its requests are of no more use
    workspace.service.wait(orphan.id)
    assert {done.output_file_id, done.error_file_id} - {None} <= bench.there()
    assert workspace.run()["rows"] == {"total": 20, "succeeded": 20}
    assert set(bench.found("--yes")) == set(results(bench, orphan.id))


def results(bench: Bench, batch_id: str) -> list[str]:
    found = bench.client.batches.retrieve(batch_id)
    return [file for file in (found.output_file_id, found.error_file_id) if file]


def test_a_folder_goes_once_its_time_is_over_and_the_output_and_the_ledger_stay(
    bench: Bench, later: Callable[[timedelta], None]
) -> None:
    bench.workspace.change("run.keep", "2d")
    run = bench.finish()
    folder = bench.workspace.folder / "home" / "runs" / "letters" / "k"
    other = folder.with_name("other")
    other.mkdir()
    later(timedelta(days=1, hours=23))
    assert bench.found("--yes") == {}
    later(timedelta(days=2))
    assert bench.found() == {"letters/k": "folder"}
    assert folder.exists()
    assert bench.found("--yes") == {"letters/k": "folder"}
    assert not folder.exists()
    assert other.exists()
    assert bench.found("--yes") == {}
    assert bench.workspace.statuses() == {"succeeded": 10}
    assert bench.workspace.ledger.get_run(run).state is RunState.FINISHED
    assert bench.workspace.run()["run"] == run  # finished before, and still known


@pytest.mark.parametrize(
    ("keep", "state"),
    [(None, RunState.FINISHED), ("1s", RunState.CANCELLED), ("1s", RunState.RUNNING)],
)
def test_a_folder_stays_when_it_is_for_ever_or_the_run_is_not_finished(
    bench: Bench, later: Callable[[timedelta], None], keep: str | None, state: RunState
) -> None:
    bench.workspace.change("run.keep", keep)
    bench.finish(state)
    later(timedelta(days=9_999))
    assert bench.found("--yes") == {}


def test_a_folder_stays_when_an_output_was_published_into_it(
    bench: Bench, later: Callable[[timedelta], None]
) -> None:
    bench.workspace.change("output.path", "home/runs/letters/k/out.parquet")
    bench.finish()
    later(timedelta(days=31))
    assert bench.found("--yes") == {}
    assert bench.workspace.out.num_rows == 10


def test_a_folder_stays_when_another_run_lives_in_it(
    bench: Bench, later: Callable[[timedelta], None]
) -> None:
    for key in ("k.2", "k"):
        bench.workspace.run(key=key)
    with sa.create_engine(bench.workspace.home.ledger_url).begin() as connection:
        connection.execute(sa.text("update runs set folder = 'letters/k' where key = 'k.2'"))
    later(timedelta(days=31))
    assert bench.found("--yes") == {}


def test_the_folder_of_a_trial_goes_as_any_other_and_its_output_stays(
    bench: Bench, later: Callable[[timedelta], None]
) -> None:
    bench.workspace.change("run.keep", None)
    bench.workspace.run()
    bench.workspace.change("run.keep", "30d")
    trial = bench.workspace.run(limit=3)
    later(timedelta(days=31))
    assert bench.found("--yes") == {"letters/k.trial": "folder"}
    assert pq.read_table(trial["output"]).num_rows == 3
    assert bench.workspace.out.num_rows == 10


def test_a_redo_has_a_folder_that_no_key_has(bench: Bench, later: Callable[[timedelta], None]) -> None:
    bench.workspace.run(key="k.2")
    bench.workspace.run(key="k")
    bench.workspace.run(key="k", redo=True)
    assert bench.workspace.run(key="k.2")["generation"] == 1
    later(timedelta(days=31))
    assert bench.found("--yes") == {"letters/k.2": "folder", "letters/k": "folder", "letters/k@2": "folder"}


def test_two_accounts_are_both_cleaned(
    bench: Bench, batch_service: StartBatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = bench.workspace
    first = bench.finish()
    upload = bench.file(f"nightmail-{first}-1-1.jsonl")
    elsewhere = batch_service()
    monkeypatch.setenv("OTHER_KEY", KEY)
    workspace.change("provider.base_url", elsewhere.url)
    workspace.change("provider.api_key_env", "OTHER_KEY")
    second = workspace.run(key="elsewhere")["run"]
    there = elsewhere.client().files.create(file=(f"nightmail-{second}-1-1.jsonl", LINE), purpose="batch")
    # The other account's run id in this account is nobody's business here.
    stray = bench.file(f"nightmail-{second}-1-1.jsonl")
    assert bench.found() == {upload: "file", there.id: "file"}

    monkeypatch.delenv("OTHER_KEY")
    done = bench.clean("--yes")
    assert [item["id"] for item in done["leftovers"]] == [upload]
    (note,) = done["notes"]
    assert "OTHER_KEY" in note
    monkeypatch.setenv("OTHER_KEY", KEY)
    assert bench.found("--yes") == {there.id: "file"}
    assert stray in bench.there()
    assert list(elsewhere.client().files.list()) == []


def test_a_provider_that_does_not_answer_costs_a_note_and_the_next_call_goes_on(bench: Bench) -> None:
    run = bench.finish()
    uploads = [bench.file(f"nightmail-{run}-{n}-1.jsonl") for n in (1, 2)]
    bench.workspace.service.fault("delete", "status:400", times=1)
    done = bench.clean("--yes", code=3)
    assert len(done["leftovers"]) == 1
    assert "is still there: " in done["notes"][0]
    assert len(bench.found("--yes")) == 1
    assert not bench.there() & set(uploads)


def test_people_get_lines_with_reasons_a_total_and_the_next_step(bench: Bench) -> None:
    run = bench.finish()
    bench.file(f"nightmail-{run}-1-1.jsonl")
    bench.file(f"nightmail-{run}-2-1.jsonl")
    said = []
    for words in (["clean"], ["clean", "--yes"], ["clean"]):
        bench.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        said.append(bench.capsys.readouterr().out)
    for text in said[:2]:
        assert f"nightmail-{run}-1-1.jsonl\tletters/k\trequests; letters k is finished\n" in text
    assert "2 files to remove; to do it: nightmail clean --yes" in said[0]
    assert "2 files removed." in said[1]
    assert said[2] == "There is nothing to remove.\n"
