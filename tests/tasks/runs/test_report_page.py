"""Every run leaves a report beside its output, and everything that speaks of the run says where."""

from __future__ import annotations

import json

import pytest

from configs.clock import SystemClock
from configs.progress import SilentReporter
from flows.cli.main import main
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.runs import report_page
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import as_markdown


def read(workspace: Workspace, path: str = "out/letters/_report.html") -> str:
    text: str = (workspace.folder / path).read_text(encoding="utf-8")
    return text


@pytest.mark.parametrize(
    ("output", "report"),
    [("out/letters", "out/letters/_report.html"), ("out/letters.parquet", "out/letters.report.html")],
)
def test_it_lies_beside_the_output_and_the_receipt_says_where(
    workspace: Workspace, output: str, report: str
) -> None:
    workspace.change("output.path", output)
    receipt = workspace.run()
    assert receipt["report"] == str(workspace.folder / report)
    text = read(workspace, report)
    assert "All 10 rows answered." in text
    assert "word 0" in text
    written = "out/letters/_receipt.json" if output == "out/letters" else "out/letters.receipt.json"
    assert json.loads((workspace.folder / written).read_text()) == receipt


def test_a_run_with_failures_shows_them_with_rows_and_batches(workspace: Workspace) -> None:
    workspace.source(20, text=["<b>bold</b>"] * 20)
    workspace.change("limits.max_requests", 8)
    workspace.change("retry.max_attempts", 2)
    workspace.faults("row_error:400:t-3|t-9,refusal:t-15,row_error:500:t-17")
    receipt = workspace.run()
    text = read(workspace)
    assert "16 of 20 rows answered; 1 refused, 3 failed." in text
    for batch in workspace.batches():
        assert batch.batch_id in text
    for error in receipt["errors"]:
        assert error["code"] in text
    assert "chunk 3, attempt 2" in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "<b>bold" not in text
    assert "sk-secret" not in text


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [("/v1/embeddings", "numbers]"), ("/v1/moderations", "flagged"), ("/v1/responses", "word 0")],
)
def test_every_kind_of_answer_is_shown(workspace: Workspace, endpoint: str, shown: str) -> None:
    workspace.change("prompt.endpoint", endpoint)
    workspace.run()
    assert shown in read(workspace).partition("before and after")[2]


def test_redo_replaces_it(workspace: Workspace) -> None:
    workspace.run()
    workspace.change("prompt.user", "Shout {{ text }}")
    workspace.run(redo=True)
    assert "Shout" in read(workspace)
    assert "redo number 1" in read(workspace)


def test_a_cancelled_run_that_publishes_has_one_that_says_so(workspace: Workspace) -> None:
    workspace.change("run", {"publish_cancelled": True})
    workspace.faults("stuck:in_progress")

    def interrupt(clock: SystemClock, seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            workspace.run()
    cancel_run(workspace.home, {"TEST_KEY": "sk-secret"}, SystemClock(), "letters/k", SilentReporter())
    assert "Stopped before its end: 0 of 10 rows answered; 10 cancelled." in read(workspace)


@pytest.mark.parametrize("output", ["out/letters", "out/letters.parquet"])
def test_a_report_that_cannot_be_made_keeps_the_rows_from_nobody(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    workspace.change("output.path", output)
    workspace.run()

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("no pages today")

    monkeypatch.setattr(report_page, "render_page", broken)
    receipt = workspace.run(redo=True)
    assert receipt["report"] is None
    assert workspace.statuses() == {"succeeded": 10}
    assert not list((workspace.folder / "out").rglob("*report*")), "the old one would speak of another run"
    history = workspace.ledger.history(receipt["run"])
    assert [e.detail for e in history if e.kind == "no report"] == ["RuntimeError: no pages today"]


def test_the_terminal_names_it(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.run()
    place = str(workspace.folder / "out/letters/_report.html")
    for command in (["run", workspace.write(), "--key", "k"], ["status", "letters/k"]):
        with pytest.raises(SystemExit):
            main(command)
        assert place in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "/data/my out/_report.html",
            "[Report](file:///data/my%20out/_report.html): `/data/my out/_report.html`",
        ),
        ("s3://lake/out/_report.html", "Report: `s3://lake/out/_report.html`"),
        ("https://lake/out/_report.html", "[Report](https://lake/out/_report.html)"),
        (None, None),
    ],
)
def test_the_receipt_artifact_leads_to_it(workspace: Workspace, place: str | None, said: str | None) -> None:
    shown = as_markdown(Receipt.model_validate({**workspace.run(), "report": place}))
    assert (said in shown) if said else ("eport" not in shown)
