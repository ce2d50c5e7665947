"""Answers of earlier runs are not bought again: a second night posts what changed, and comes to the same as if all were asked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError, IntegrityError
from configs.home import Home
from flows.cli import maintain
from flows.cli.main import main
from rigs.interrupted import stopped_after_submitting
from rigs.postgres import MakeDatabase
from rigs.workspace import Workspace
from tasks.ledger.transitions import RunState
from tasks.reuse import job_index

ROWS = 200
ANSWERS = ("id", "text", "llm_answer", "llm_finish_reason", "llm_model")


@pytest.fixture
def night(workspace: Workspace) -> Workspace:
    """A job with `reuse` whose first night is over: two chunks."""
    workspace.source(ROWS)
    workspace.change("reuse", True)
    workspace.change("limits.max_requests", 150)
    workspace.run(key="first")
    return workspace


def texts(changed: int = 2, new: int = 2) -> dict[str, list[str]]:
    """The next night's rows: so many with another text, and so many more."""
    rows = [f"other word {n}" if n % 100 == 0 and n < changed * 100 else f"word {n}" for n in range(ROWS)]
    return {"id": [f"t-{n}" for n in range(ROWS + new)], "text": rows + [f"new word {n}" for n in range(new)]}


def posted(workspace: Workspace, key: str) -> int:
    """Rows that the run with that key posted."""
    return sum(batch.requests for batch in workspace.batches_of(key))


def folder_of(workspace: Workspace, key: str) -> Path:
    return workspace.folder / "home/runs/letters" / key


def history(workspace: Workspace, key: str) -> str:
    run = workspace.ledger.latest_run("letters", key)
    assert run is not None
    return "\n".join(event.detail for event in workspace.ledger.history(run.id))


def test_a_second_night_posts_what_changed_and_comes_to_what_asking_everything_does(night: Workspace) -> None:
    night.source(**texts())
    plan = night.run(key="second", dry_run=True)
    assert (plan["reuse"]["rows"], plan["requests"], plan["skipped"]) == (ROWS - 2, 4, 0)
    receipt = night.run(key="second")
    assert receipt["rows"] == {"total": ROWS + 2, "succeeded": 4, "reused": ROWS - 2}
    assert receipt["reused"]["rows"] == ROWS - 2
    assert posted(night, "second") == 4
    second = night.out.select(ANSWERS)
    reused = night.out.filter(pc.equal(night.out["llm_status"], "reused"))
    assert set(reused["llm_reused_from"].to_pylist()) == {"letters/first"}
    nothing = ("attempts", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd")
    assert [set(reused[f"llm_{name}"].to_pylist()) for name in nothing] == [{0}] * 6
    assert None not in reused["llm_batch_id"].to_pylist()
    night.change("reuse", False)
    night.run(key="all")
    assert night.out.select(ANSWERS) == second
    assert night.statuses() == {"succeeded": ROWS + 2}


@pytest.mark.slow
def test_runs_that_share_a_ledger_on_postgresql_find_each_others_answers(
    workspace: Workspace, postgres_url: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTMAIL_LEDGER_URL", postgres_url())
    workspace.home = Home.from_environment(os.environ)
    workspace.change("reuse", True)
    workspace.run(key="first")
    assert workspace.run()["rows"] == {"total": 10, "reused": 10}
    record = workspace.ledger.reuse_index("letters")
    assert record is not None
    assert (record.version, record.path) == (2, "letters/k/00002.reuse.index")


def test_a_third_night_takes_over_what_the_second_took_over_whatever_the_order_of_its_rows(
    night: Workspace,
) -> None:
    night.source(**texts())
    night.run(key="second")
    shutil.rmtree(folder_of(night, "first"))  # the second night's folder holds all that is needed now
    expected = night.out.select(ANSWERS)
    order = [(n * 7919) % len(expected) for n in range(len(expected))]
    pq.write_table(expected.select(["id", "text"]).take(order), night.folder / "rows.parquet")
    night.change("limits.max_rows", 60)
    plan = night.run(key="third", dry_run=True)
    assert (plan["chunks"], plan["batches"], plan["requests"]) == (4, 0, 0)
    receipt = night.run(key="third")
    assert receipt["rows"] == {"total": ROWS + 2, "reused": ROWS + 2}
    assert (receipt["batches"]["posted"], receipt["chunks"]) == (0, 4)
    assert night.out.select(ANSWERS).sort_by("id") == expected.sort_by("id")
    origins = pc.value_counts(night.out["llm_reused_from"]).to_pylist()
    assert {each["values"]: each["counts"] for each in origins} == {
        "letters/first": ROWS - 2,
        "letters/second": 4,
    }


def test_a_changed_prompt_is_asked_and_the_old_one_is_found_again(night: Workspace) -> None:
    night.source(10)
    for key, prompt, rows in (
        ("b", "Shout {{ text }}", 10),
        ("c", "Say {{ text }}", 0),
        ("d", "Shout {{ text }}", 0),
    ):
        night.change("prompt.user", prompt)
        night.run(key=key)
        assert posted(night, key) == rows, key
        assert all(prompt[:3] in answer for answer in night.column("llm_answer"))


def test_a_redo_asks_everything_and_its_answers_are_the_ones_that_count(night: Workspace) -> None:
    night.source(10)
    assert night.run(key="first", redo=True)["rows"] == {"total": 10, "succeeded": 10}
    batches = set(night.column("llm_batch_id"))
    night.run(key="next")
    assert set(night.column("llm_batch_id")) == batches
    assert night.statuses() == {"reused": 10}


def test_a_trial_counts_for_the_whole_run(workspace: Workspace) -> None:
    workspace.source(30)
    workspace.change("reuse", True)
    workspace.run(limit=20)
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 30, "succeeded": 10, "reused": 20}
    assert set(workspace.column("llm_reused_from")) == {"letters/k.trial", None}


@pytest.mark.parametrize(
    ("also", "again", "statuses"),
    [
        ([], 3, {"succeeded": 3, "reused": 7}),
        (["truncated"], 2, {"succeeded": 2, "truncated": 1, "reused": 7}),
        (["refused", "truncated"], 1, {"succeeded": 1, "truncated": 1, "refused": 1, "reused": 7}),
    ],
)
def test_poor_answers_are_asked_anew_unless_told_otherwise_and_failures_always_are(
    workspace: Workspace, also: list[str], again: int, statuses: dict[str, int]
) -> None:
    workspace.change("reuse", {"also": also})
    workspace.faults("row_error:400:t-3,length:t-4,refusal:t-5")
    assert workspace.run(key="first")["rows"] == {
        "total": 10, "succeeded": 7, "failed": 1, "truncated": 1, "refused": 1
    }  # fmt: skip
    workspace.change("provider.metadata", {})
    receipt = workspace.run()
    assert workspace.statuses() == statuses
    assert posted(workspace, "k") == again
    assert receipt["reused"]["rows"] == 10 - again


def test_old_answers_are_asked_anew_and_count_from_when_they_were_bought(
    night: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.source(4)
    night.run(key="second")
    night.change("reuse", {"max_age": "10d"})
    assert night.run(key="a", dry_run=True)["reuse"]["rows"] == 4
    now = datetime.now(UTC) + timedelta(days=11)
    monkeypatch.setattr("configs.clock.SystemClock.now", lambda _: now)
    assert night.run(key="a", dry_run=True)["reuse"]["rows"] == 0


def test_embeddings_are_taken_over_with_their_size(workspace: Workspace) -> None:
    workspace.change("reuse", True)
    workspace.change("prompt.endpoint", "/v1/embeddings")
    workspace.change("prompt.user", "{{ text }}")
    workspace.run(key="first")
    vectors = workspace.out["llm_answer"]
    workspace.run()
    assert workspace.out["llm_answer"] == vectors
    assert workspace.out.schema.field("llm_answer").type == pa.list_(pa.float32(), 1536)
    assert workspace.statuses() == {"reused": 10}


def test_typed_fields_are_taken_over_and_another_prefix_does_not_matter(workspace: Workspace) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    workspace.change("reuse", True)
    workspace.change("prompt.schema", schema)
    workspace.run(key="first")
    parsed = workspace.column("llm_parsed")
    workspace.change("output", {"path": "other", "prefix": "x_"})
    workspace.run()
    assert workspace.column("x_parsed") == parsed
    assert set(workspace.column("x_status")) == {"reused"}


@pytest.mark.parametrize("damage", ["gone", "cut", "ledger"])
def test_an_index_that_is_gone_or_damaged_is_made_anew_of_the_runs_that_are_kept(
    night: Workspace, damage: str
) -> None:
    record = night.ledger.reuse_index("letters")
    assert record is not None
    path = night.folder / "home/runs" / record.path
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "gone":
        path.unlink()
    else:
        for file in (night.folder / "home").glob("ledger.db*"):
            file.unlink()
    plan = night.run(key="second", dry_run=True)
    assert plan["reuse"]["rows"] == ROWS
    assert damage == "ledger" or any("made anew" in note for note in plan["notes"])
    assert night.run(key="second")["rows"] == {"total": ROWS, "reused": ROWS}
    record = night.ledger.reuse_index("letters")
    assert record is not None
    assert (night.folder / "home/runs" / record.path).exists()


def test_a_run_whose_folder_is_gone_has_no_answers(night: Workspace) -> None:
    shutil.rmtree(folder_of(night, "first"))
    assert night.run(key="second")["rows"] == {"total": ROWS, "succeeded": ROWS}


def test_of_two_runs_published_at_once_neither_is_lost(
    night: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_answers = job_index._add_answers

    def run_another_first(*given: Any) -> None:
        monkeypatch.setattr(job_index, "_add_answers", add_answers)
        night.source(**texts(changed=0, new=3))
        night.run(key="faster")
        add_answers(*given)

    monkeypatch.setattr(job_index, "_add_answers", run_another_first)
    night.source(**texts(changed=2, new=0))
    night.run(key="slower")
    assert "at the same time" in history(night, "slower")
    night.source(**texts(changed=2, new=3))
    assert night.run(key="after")["rows"] == {"total": ROWS + 3, "reused": ROWS + 3}


def test_an_index_that_cannot_be_written_is_noted_and_costs_no_answer(
    night: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.reuse.merge_index.IndexMaker.write", full)
    night.source(**texts())
    assert night.run(key="second")["rows"]["succeeded"] == 4
    assert "was not brought up to date" in history(night, "second")


def test_a_finished_run_asks_its_unanswered_rows_again_although_what_it_took_over_is_gone(
    night: Workspace,
) -> None:
    night.source(**texts(changed=1, new=0))
    night.faults("row_error:500:t-0*1")
    night.change("retry.max_attempts", 1)
    assert night.run(key="second")["rows"] == {"total": ROWS, "failed": 1, "reused": ROWS - 1}
    shutil.rmtree(folder_of(night, "first"))
    receipt = night.run(key="second", retry=True)
    assert receipt["rows"] == {"total": ROWS, "succeeded": 1, "reused": ROWS - 1}
    assert set(night.column("llm_reused_from")) == {"letters/first", None}


MORE = ["retry.on=[truncated]", "prompt.params.max_completion_tokens=500"]


@pytest.mark.parametrize("index", ["kept", "made anew"])
def test_answers_to_other_params_are_not_found_by_the_request_that_was_asked_first(
    workspace: Workspace, fast_faults: None, index: str
) -> None:
    workspace.change("reuse", {"duplicates": True})
    workspace.change("prompt.params", {"max_completion_tokens": 100})
    workspace.run(key="first")
    words = [f"word {n}" for n in range(8)]
    # The last row takes over what the first run answered under the custom_id of the row that is asked here.
    workspace.source(10, text=[*words[:3], "new", *words[4:], "new", "word 3"])
    workspace.faults("length:t-3*1")
    assert workspace.run(key="second")["rows"] == {"total": 10, "truncated": 2, "reused": 8}
    workspace.run(key="second", retry=True, overrides=MORE)
    assert workspace.statuses() == {"succeeded": 2, "reused": 8}
    shutil.rmtree(folder_of(workspace, "first"))
    if index == "made anew":
        workspace.ledger.forget_reuse_index("letters")
    workspace.change("provider.metadata", {})
    assert workspace.run(key="third")["rows"] == {"total": 10, "succeeded": 2, "reused": 8}
    assert posted(workspace, "third") == 1


def test_an_answer_to_a_follow_up_that_told_what_was_wrong_is_not_found_and_one_to_the_same_request_is(
    workspace: Workspace, fast_faults: None
) -> None:
    workspace.change("reuse", True)
    workspace.change("prompt.schema", {"type": "object", "properties": {"n": {"type": "integer"}}})
    workspace.change("retry", {"on": ["invalid", "transient"], "max_attempts": 2, "tell_errors": True})
    workspace.faults("invalid_json:t-3*1,row_error:500:t-4*1")
    assert workspace.run(key="first")["rows"] == {"total": 10, "succeeded": 10}
    workspace.change("provider.metadata", {})
    assert workspace.run(key="second")["rows"] == {"total": 10, "succeeded": 1, "reused": 9}
    assert [n for n, run in enumerate(workspace.column("llm_reused_from")) if run is None] == [3]


def test_rows_whose_source_is_gone_before_they_were_merged_stop_the_run(
    night: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import merge

    write = merge._write

    def gone(*given: Any) -> Any:
        shutil.rmtree(folder_of(night, "first"), ignore_errors=True)
        return write(*given)

    monkeypatch.setattr(merge, "_write", gone)
    with pytest.raises(IntegrityError, match=r"letters/first: .* is gone"):
        night.run(key="second")


def test_what_rows_cost_is_what_the_receipt_says_and_what_they_saved_is_what_they_had_cost(
    night: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.stages.cost.price import Price

    monkeypatch.setattr("tasks.merge.price_of", lambda *_: Price(1.0, 2.0, 0.5, "test"))
    night.change("prompt.user", "Count {{ text }}")
    night.source(50)
    first = night.run(key="a")
    assert 0 < first["cost_usd"] == pytest.approx(sum(night.column("llm_cost_usd")))
    night.source(60)
    second = night.run(key="b")
    assert 0 < second["cost_usd"] == pytest.approx(sum(night.column("llm_cost_usd")))
    assert second["reused"] == {"rows": 50, "saved_usd": pytest.approx(first["cost_usd"])}
    night.source(60)
    third = night.run(key="c")
    assert third["cost_usd"] == 0
    assert third["reused"]["saved_usd"] == pytest.approx(first["cost_usd"] + second["cost_usd"])


def test_a_plan_says_what_is_repeated_with_and_without_reuse(workspace: Workspace) -> None:
    workspace.source(10, text=["a"] * 5 + ["b"] * 4 + ["c"])
    assert workspace.run(dry_run=True)["duplicates"]["rows"] == 7
    workspace.source(10)
    assert workspace.run(dry_run=True)["duplicates"] is None


def test_what_several_rows_ask_is_asked_once_and_all_get_its_outcome(
    workspace: Workspace, fast_faults: None
) -> None:
    words = ["a", "b", "a", "c", "b", "a", "d", "d", "a", "c"]
    workspace.source(10, text=words, n=list(range(10)))
    workspace.change("reuse", {"duplicates": True})
    workspace.change("retry.max_attempts", 1)
    workspace.faults("row_error:500:t-1*1,row_error:400:t-6,length:t-3")
    plan = workspace.run(key="first", dry_run=True)
    assert (plan["requests"], plan["skipped"], plan["duplicates"]["rows"]) == (4, 0, 6)
    first = workspace.run(key="first")
    assert first["rows"] == {"total": 10, "succeeded": 4, "truncated": 2, "failed": 4}
    assert (first["retryable"], sum(error["rows"] for error in first["errors"])) == (2, 4)
    assert posted(workspace, "first") == 4
    assert workspace.column("n") == list(range(10))
    assert workspace.column("llm_attempts") == [1, 1, 0, 1, 0, 0, 1, 0, 0, 0]
    retried = workspace.run(key="first", retry=True)
    assert retried["rows"] == {"total": 10, "succeeded": 6, "truncated": 2, "failed": 2}
    assert retried["retryable"] == 0
    answers = workspace.column("llm_answer")
    assert [answer[-2:] for answer in answers[:2]] == [" a", " b"]
    for row, word in enumerate(words):
        same = words.index(word)
        for column in ("answer", "status", "error_code", "finish_reason", "custom_id", "batch_id"):
            values = workspace.column(f"llm_{column}")
            assert values[row] == values[same], column
        if row != same:
            spent = [workspace.column(f"llm_{name}")[row] for name in ("input_tokens", "output_tokens")]
            assert spent == [0, 0]
    second = workspace.run(key="second")
    assert second["rows"] == {"total": 10, "reused": 6, "truncated": 2, "failed": 2}
    assert posted(workspace, "second") == 2


@pytest.mark.parametrize("duplicates", [True, False])
def test_a_chunks_account_holds_no_more_error_codes_for_rows_that_ask_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, duplicates: bool
) -> None:
    monkeypatch.setattr("tasks.stages.merge.merge_chunk._TOP_ERRORS", 1)
    workspace.source(6, text=["a", "b", "c", "a", "b", "c"])
    workspace.change("retry.max_attempts", 1)
    workspace.change("reuse", {"duplicates": duplicates})
    workspace.faults("row_error:429:t-0|t-1|t-3|t-4,row_error:500:t-2|t-5")
    assert [error["rows"] for error in workspace.run()["errors"]] == [4]


@pytest.mark.parametrize("endpoint", ["/v1/images/generations", "/v1/videos"])
def test_answers_that_are_files_are_refused(workspace: Workspace, endpoint: str) -> None:
    workspace.change("reuse", True)
    workspace.change("prompt.endpoint", endpoint)
    with pytest.raises(ConfigError, match=f"reuse: answers of {endpoint} are files"):
        workspace.run(dry_run=True)


Clean = Callable[..., dict[str, Any]]


@pytest.fixture
def clean(night: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Clean:
    """`nightmail clean --json` so many days later: the run folders that it found or removed."""

    def run(*words: str, days: int = 0) -> dict[str, Any]:
        class Later:
            def now(self) -> datetime:
                return datetime.now(UTC) + timedelta(days=days)

        monkeypatch.setattr(maintain, "SystemClock", Later)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["clean", "--json", *words])
        said = capsys.readouterr()
        found = json.loads(said.out)["leftovers"] if said.out else []
        return {
            "folders": sorted(item["id"] for item in found if item["kind"] == "folder"),
            "code": ended.value.code,
            "error": said.err,
        }

    return run


def test_clean_keeps_folders_with_young_answers_until_a_later_run_holds_them(
    night: Workspace, clean: Clean
) -> None:
    assert clean(days=31)["folders"] == ["letters/first"]
    night.change("reuse", {"max_age": "90d"})
    night.source(**texts())
    night.run(key="second")
    assert clean(days=31)["folders"] == [], "two answers of the first night are in no later run"
    assert clean(days=91)["folders"] == ["letters/first", "letters/second"]
    night.source(ROWS)
    night.run(key="third")
    assert clean(days=31)["folders"] == ["letters/first"], "all of its answers are in the third night's, too"


def test_clean_keeps_all_folders_of_a_job_while_a_run_of_it_is_under_way(
    night: Workspace, clean: Clean
) -> None:
    night.run(key="second")
    assert clean(days=31)["folders"] == ["letters/first", "letters/second"]
    set_state(night, "second", RunState.RUNNING)
    assert clean(days=31)["folders"] == []


@pytest.fixture
def going_on(night: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A run that takes answers of the first night is posted and not merged; another has none that it takes."""
    night.change("prompt.user", "Shout {{ text }}")
    night.run(key="shouted", limit=5)
    night.change("prompt.user", "Say {{ text }}")
    night.change("run.keep", "60d")
    night.source(**texts())
    stopped_after_submitting(night, monkeypatch)
    return night


def test_clean_keeps_what_a_cancelled_run_takes_over_when_it_goes_on(
    going_on: Workspace, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        cancelled_at = datetime.now(UTC) + timedelta(days=20)
        later.setattr("configs.clock.SystemClock.now", lambda _: cancelled_at)
        set_state(going_on, "k", RunState.CANCELLED)
    assert clean(days=79)["folders"] == ["letters/shouted.trial"]
    assert clean(days=81)["folders"] == ["letters/first", "letters/shouted.trial"]
    going_on.run()
    assert going_on.statuses() == {"succeeded": 4, "reused": ROWS - 2}
    assert clean(days=31)["folders"] == ["letters/first", "letters/shouted.trial"]


def test_clean_keeps_what_a_run_takes_over_although_its_job_wants_no_reuse_any_more(
    going_on: Workspace, clean: Clean
) -> None:
    run = going_on.ledger.latest_run("letters", "k")
    assert run is not None
    change(going_on, "k", spec={**run.spec, "reuse": None})
    assert clean(days=31)["folders"] == ["letters/shouted.trial"]
    next(folder_of(going_on, "k").rglob("lines.parquet")).write_bytes(b"damaged")
    assert clean(days=31)["folders"] == []
    shutil.rmtree(folder_of(going_on, "k"))
    assert clean(days=31)["folders"] == ["letters/first", "letters/shouted.trial"]


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.CANCELLED])
def test_a_run_that_a_redo_replaced_before_its_end_keeps_no_folder_unless_a_process_works_on_it(
    going_on: Workspace, clean: Clean, state: RunState
) -> None:
    replaced = going_on.ledger.latest_run("letters", "k")
    assert replaced is not None
    set_state(going_on, "k", state)
    going_on.change("prompt.user", "Whisper {{ text }}")
    going_on.run(redo=True)
    assert clean(days=31)["folders"] == ["letters/first", "letters/shouted.trial"]
    held = going_on.ledger.claim(replaced.id, "elsewhere/x/1/1", 40 * 86_400, lambda _: False)
    assert "letters/first" not in clean(days=31)["folders"]
    held.release()


def set_state(workspace: Workspace, key: str, state: RunState) -> None:
    change(workspace, key, state=state)


def change(workspace: Workspace, key: str, **values: Any) -> None:
    """Write values of a run into the ledger."""
    run = workspace.ledger.latest_run("letters", key)
    assert run is not None
    held = workspace.ledger.claim(run.id, "test/x/1/1", 60, lambda _: False)
    held.update_run(**values)
    if values.get("state") is RunState.CANCELLED:
        held.note("cancelled", "")
    held.release()


def test_forget_erases_a_jobs_folders_and_index_and_leaves_its_output(night: Workspace, clean: Clean) -> None:
    night.run(limit=5)
    listed = clean("--forget", "letters")["folders"]
    assert listed == ["letters/first", "letters/k.trial"]
    assert folder_of(night, "first").exists()
    assert clean("--forget", "letters", "--yes") == {"folders": listed, "code": 0, "error": ""}
    assert not any(path.is_file() for path in (night.folder / "home/runs").rglob("*"))
    assert night.ledger.reuse_index("letters") is None
    assert len(night.out) == ROWS
    assert night.run(key="again")["rows"] == {"total": ROWS, "succeeded": ROWS}


def test_forget_names_folders_that_it_does_not_know_and_leaves_an_output_alone(
    night: Workspace, clean: Clean
) -> None:
    (folder_of(night, "lost")).mkdir()
    (folder_of(night, "lost") / "run.json").write_text("{}")
    night.change("output.path", "home/runs/letters/first/out")
    night.run(key="second")
    erased = clean("--forget", "letters", "--yes")
    assert (erased["folders"], erased["code"]) == (["letters/second"], 0)
    assert (folder_of(night, "first") / "out").exists()


def test_forget_refuses_a_job_that_is_under_way_or_unknown(night: Workspace, clean: Clean) -> None:
    refused = clean("--forget", "leters", "--yes")
    assert (refused["code"], "no job of that name" in refused["error"]) == (2, True)
    set_state(night, "first", RunState.RUNNING)
    refused = clean("--forget", "letters", "--yes")
    assert (refused["code"], "letters first is under way" in refused["error"]) == (2, True)
    assert folder_of(night, "first").exists()
