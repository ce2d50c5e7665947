"""`nightmail doctor`: what it finds out about this machine and about services, and what it tells whoever asked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import load
from flows.cli.main import main
from rigs.batch_service import KEY, BatchService, StartBatchService
from rigs.workspace import Workspace
from tasks.diagnostics.facts import Fact, Grade, verdict


def doctor(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    told = json.loads(capsys.readouterr().out)
    return {fact["name"]: fact for fact in told["facts"]}


def test_a_machine_that_has_seen_no_run_is_fit_and_stays_untouched(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(workspace.folder.rglob("*"))
    assert doctor("--json") == 0
    found = facts(capsys)
    assert found["ledger"]["detail"].startswith("none yet")
    assert found["run folder"]["detail"].startswith("none yet")
    assert found["Prefect"]["grade"] == "note"
    assert sorted(workspace.folder.rglob("*")) == before


def test_after_a_run_ledger_and_run_folder_are_there(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run()
    assert doctor("--json") == 0
    found = facts(capsys)
    assert found["ledger"]["detail"].startswith("reachable, at its newest schema")
    assert found["run folder"]["detail"].startswith("writable")
    assert not list((workspace.folder / "home" / "runs").glob(".doctor*"))


def not_a_database(folder: Path) -> dict[str, str]:
    (folder / "ledger.db").write_text("x" * 5_000)
    return {"NIGHTMAIL_LEDGER_URL": f"sqlite:///{folder / 'ledger.db'}"}


def no_url(folder: Path) -> dict[str, str]:
    return {"NIGHTMAIL_LEDGER_URL": "nonsense"}


def a_file_in_the_way(folder: Path) -> dict[str, str]:
    (folder / "runs").write_text("")
    return {"NIGHTMAIL_RUNS_URL": str(folder / "runs")}


def an_unknown_scheme(folder: Path) -> dict[str, str]:
    return {"NIGHTMAIL_RUNS_URL": "nosuch://bucket/runs"}


def a_silent_prefect(folder: Path) -> dict[str, str]:
    return {"PREFECT_API_URL": "http://127.0.0.1:9/api"}


@pytest.mark.parametrize(
    ("breaks", "name"),
    [
        (not_a_database, "ledger"),
        (no_url, "ledger"),
        (a_file_in_the_way, "run folder"),
        (an_unknown_scheme, "run folder"),
        (a_silent_prefect, "Prefect"),
    ],
)
def test_what_is_broken_is_bad_and_ends_with_1(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    breaks: Callable[[Path], dict[str, str]],
    name: str,
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    environ = breaks(workspace.folder)
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    server = {PREFECT_API_URL: environ["PREFECT_API_URL"]} if "PREFECT_API_URL" in environ else {}
    with temporary_settings(server):
        assert doctor() == 1
    said = capsys.readouterr().out
    assert f"bad   {name}" in said
    assert said.rstrip().endswith(f"not fit: {name}")


def test_an_older_ledger_is_no_trouble(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.run()
    with sqlite3.connect(workspace.folder / "home" / "ledger.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '0000'")
    assert doctor("--json") == 0
    assert "the next run brings it to" in facts(capsys)["ledger"]["detail"]


def test_which_keys_are_set_is_told_and_never_a_key(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    assert doctor("--json") == 0
    said = capsys.readouterr().out
    assert "sk-very-secret" not in said
    told = {fact["name"]: fact["detail"] for fact in json.loads(said)["facts"]}
    assert told["openai key"] == "OPENAI_API_KEY is set"
    assert told["alibaba key"] == "DASHSCOPE_API_KEY is not set"


def files_at(service: BatchService) -> set[str]:
    return {file.id for file in service.client().files.list().data}


def test_a_service_that_keeps_the_protocol_is_fit(
    workspace: Workspace,
    shared_batch_service: BatchService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    before = files_at(shared_batch_service)
    assert doctor("--base-url", shared_batch_service.url, "--model", "m", "--api-key-env", "OTHER_KEY") == 0
    said = capsys.readouterr()
    assert said.out.rstrip().endswith("\nfit")
    assert "two tiny rows" in said.err
    assert "sk-very-secret" not in said.out + said.err
    for name in ("metadata", "finds by key", "list paging", "files expire", "answer", "delete"):
        assert f"ok    {name}" in said.out
    assert files_at(shared_batch_service) == before


def deep(service: BatchService, *words: str) -> int:
    return doctor("--base-url", service.url, "--model", "m", "--api-key-env", "TEST_KEY", "--deep", *words)


def test_deep_says_what_it_posts_and_ends_with_what_the_service_honours(
    workspace: Workspace,
    shared_batch_service: BatchService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stated = {"prices": [{"model": "m", "input": 0.5, "output": 2, "source": "the gateway's list"}]}
    monkeypatch.setattr(load, "load_prices", lambda: stated)
    before = files_at(shared_batch_service)
    assert deep(shared_batch_service) == 0
    said = capsys.readouterr()
    assert "$0.5 and $2 a million tokens, in and out (the gateway's list)" in said.err
    *_, table, summary = said.out.split("\n\n")
    assert summary == "fit\n"
    header, *lines = (line.split("\t") for line in table.split("\n"))
    assert header == ["honoured", "check", "the service", "if not, Nightmail"]
    found = {check: honoured for honoured, check, *_ in lines}
    for check in ("finds by key", "lost reply", "equal create", "invalid line", "unknown endpoint", "delete"):
        assert found[check] == "yes"
    assert "bad " not in said.out
    assert files_at(shared_batch_service) == before


def test_deep_says_no_to_what_a_service_does_not_honour(
    workspace: Workspace, shared_batch_service: BatchService, capsys: pytest.CaptureFixture[str]
) -> None:
    for op, action in (("cancel", "status:404"), ("delete", "status:405"), ("list_files", "empty:600")):
        shared_batch_service.fault(op, action, times=100)
    assert deep(shared_batch_service, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    shared_batch_service.forgive()
    broken = {line["check"]: line["nightmail"] for line in told["conformance"] if line["honoured"] == "no"}
    assert {"cancel open", "delete", "lists files", "deleted is gone"} <= set(broken)
    assert all(broken.values())
    assert told["verdict"].startswith("fit, with oddities that Nightmail copes with: ")


def test_deep_provokes_nothing_where_no_batch_can_be_made(
    workspace: Workspace, shared_batch_service: BatchService, capsys: pytest.CaptureFixture[str]
) -> None:
    shared_batch_service.fault("create", "status:400", times=100)
    before = shared_batch_service.stats()["batches"]
    assert deep(shared_batch_service, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    shared_batch_service.forgive()
    found = {line["check"]: line["honoured"] for line in told["conformance"]}
    assert (found["create"], found["lost reply"]) == ("no", "unknown")
    assert shared_batch_service.stats()["batches"] == before


def test_a_service_that_lists_no_models_needs_a_name(
    workspace: Workspace, shared_batch_service: BatchService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor("--base-url", shared_batch_service.url, "--api-key-env", "TEST_KEY") == 2
    assert "--model" in capsys.readouterr().err


def test_nobody_there_is_said_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--base-url", "http://127.0.0.1:9/v1", "--model", "m") == 1
    assert capsys.readouterr().out.rstrip().endswith("not fit: reachable")


def test_a_batch_that_takes_too_long_is_cancelled_and_ends_with_3(
    workspace: Workspace, batch_service: StartBatchService, capsys: pytest.CaptureFixture[str]
) -> None:
    service = batch_service(rows_per_second=0.01)
    assert doctor("--base-url", service.url, "--api-key-env", "TEST_KEY", "--model", "m", "--wait", "1s") == 3
    said = capsys.readouterr().out
    assert "ok    cancel" in said
    assert "not finished" in said
    (batch,) = service.client().batches.list().data
    assert batch.status in ("cancelling", "cancelled")


def test_the_embedded_service_is_tried_for_free(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor("--provider", "local") == 0
    said = capsys.readouterr()
    assert "they are free" in said.err
    assert "ok    answers" in said.out


@pytest.mark.parametrize(("model", "posts"), [([], 0), (["--model", "m"], 1)])
def test_a_provider_is_tried_through_the_seam_of_runs_and_paid_only_when_a_model_is_named(
    workspace: Workspace,
    batch_service: StartBatchService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: list[str],
    posts: int,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    service = batch_service()
    where = ("--set", f"provider.base_url={service.url}")
    assert doctor("--provider", "openai", *where, *model) == 0
    assert len(service.client().batches.list().data) == posts
    assert ("ok    answers" in capsys.readouterr().out) == bool(posts)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--provider", "nobody"], "nobody: is not known"),
        (["--provider", "azure"], "provider.endpoint"),
        (["--provider", "local", "--base-url", "http://x"], "give one of them"),
        (["--deep"], "give --base-url"),
        (["--wait", "soon"], "--wait 'soon'"),
        (["--base-url", "http://127.0.0.1:9/v1", "--api-key-env", "NO_SUCH"], "--api-key-env NO_SUCH"),
    ],
)
def test_wrong_usage_ends_with_2(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert doctor(*words) == 2
    assert said in capsys.readouterr().err


def test_a_missing_key_is_the_verdict(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    assert doctor("--provider", "alibaba") == 1
    assert "DASHSCOPE_API_KEY" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("grades", "said"),
    [
        ([], "fit"),
        ([Grade.OK, Grade.NOTE], "fit"),
        ([Grade.OK, Grade.ODD], "fit, with oddities that Nightmail copes with: fact 1"),
        ([Grade.ODD, Grade.BAD], "not fit: fact 1"),
    ],
)
def test_the_verdict_is_that_of_the_worst(grades: list[Grade], said: str) -> None:
    assert verdict(Fact(f"fact {n}", grade, "") for n, grade in enumerate(grades)) == said


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([], "nothing wrong with what was seen; whether it is fit is open: no answer was seen"),
        (
            [("key", Grade.OK), ("limits", Grade.OK), ("ends", Grade.NOTE)],
            "nothing wrong with key, limits; whether it is fit is open: no answer was seen",
        ),
        ([("create", Grade.OK), ("answers", Grade.OK)], "fit"),
        (
            [("answer", Grade.OK), ("counts", Grade.ODD)],
            "fit, with oddities that Nightmail copes with: counts",
        ),
        ([("key", Grade.BAD)], "not fit: key"),
    ],
)
def test_a_service_is_fit_once_it_has_answered(facts: list[tuple[str, Grade]], said: str) -> None:
    assert verdict((Fact(name, grade, "") for name, grade in facts), of_service=True) == said
