"""From the source to request files: which rows are asked, which are skipped, and why."""

from __future__ import annotations

import pytest

from configs.errors import InputError
from rigs.workspace import Workspace


def test_a_source_that_changes_after_it_was_prepared_does_not_matter(workspace: Workspace) -> None:
    workspace.faults("fail:token_limit_exceeded:1")
    workspace.source(10)
    workspace.change("poll.first_seconds", 0.01)

    def vanish(*_: object) -> None:
        (workspace.folder / "rows.parquet").unlink(missing_ok=True)

    from tasks import advance as steps

    submit = steps._STEPS[steps.Step.SUBMIT]
    steps._STEPS[steps.Step.SUBMIT] = lambda run, chunk: (vanish(), submit(run, chunk))[1]
    try:
        workspace.run()
    finally:
        steps._STEPS[steps.Step.SUBMIT] = submit
    assert workspace.column("id") == [f"t-{n}" for n in range(10)]
    assert workspace.statuses() == {"succeeded": 10}


def test_the_receipt_knows_the_source_and_the_lines_left_out_of_it(workspace: Workspace) -> None:
    (workspace.folder / "rows.csv").write_text("id,text\na,one\nb\nc,three\n")
    workspace.change("source", {"path": "rows.csv", "key": "id", "bad_lines": "skip"})
    receipt = workspace.run()
    assert (receipt["rows"]["total"], receipt["bad_lines"]) == (2, 1)
    assert (
        receipt["source_fingerprint"] == workspace.ledger.latest_run("letters", "k").source_fingerprint != ""
    )
    assert receipt["source_fingerprint"]


def test_rows_that_cannot_be_asked_are_skipped_with_the_reason(workspace: Workspace) -> None:
    workspace.source(4, bad=[b"\xff", None, None, None])
    workspace.change("prompt.user", "{{ text }} {% if bad %}{{ 1 // 0 }}{% endif %}")
    receipt = workspace.run()
    assert workspace.column("llm_status") == ["skipped", "succeeded", "succeeded", "succeeded"]
    assert workspace.column("llm_error_code")[0] == "template_error"
    assert receipt["rows"] == {"total": 4, "succeeded": 3, "skipped": 1}


def test_a_row_too_large_alone_is_skipped_and_the_rest_goes_on(workspace: Workspace) -> None:
    workspace.source(3, body=["x", "y" * 1000, "z"])
    workspace.change("prompt.user", "{{ body }}")
    workspace.change("limits.max_bytes", 400)
    workspace.run()
    assert workspace.column("llm_status") == ["succeeded", "skipped", "succeeded"]
    assert "1," in workspace.column("llm_error_message")[1]


def test_a_run_whose_rows_are_all_skipped_posts_nothing(workspace: Workspace) -> None:
    workspace.change("prompt.user", "{{ 1 // 0 }}{{ text }}")
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 10, "skipped": 10}
    assert workspace.paid() == {}


def test_columns_and_where_choose_what_is_read_and_carried(workspace: Workspace) -> None:
    workspace.source(10, n=list(range(10)))
    workspace.change("source.columns", ["n"])
    workspace.change("source.where", [["n", ">=", 7]])
    workspace.run()
    assert workspace.out.column_names[0] == "n"
    assert "id" not in workspace.out.column_names
    assert workspace.column("n") == [7, 8, 9]
    assert workspace.column("llm_custom_id") == ["t-7", "t-8", "t-9"]


def test_duplicate_keys_are_named_or_numbered(workspace: Workspace) -> None:
    workspace.source(3, who=["ann", "bob", "ann"])
    workspace.change("source.key", "who")
    with pytest.raises(InputError, match=r"'ann' in rows 1, 3.*duplicate_keys: number"):
        workspace.run()
    assert not list((workspace.folder / "home").glob("ledger*"))
    assert workspace.ledger.recent_runs() == ()
    assert not list((workspace.folder / "home/runs").rglob("*.parquet"))
    workspace.change("source.duplicate_keys", "number")
    workspace.run()
    assert len(set(workspace.column("llm_custom_id"))) == 3


def test_a_dry_run_writes_nothing_anywhere(workspace: Workspace) -> None:
    workspace.change("limits.max_requests", 4)
    workspace.write()
    before = sorted(workspace.folder.rglob("*"))
    plan = workspace.run(dry_run=True)
    assert (plan["rows"], plan["chunks"], plan["requests"]) == (10, 3, 10)
    assert "Say word 0" in plan["first_prompt"]
    assert sorted(workspace.folder.rglob("*")) == before


def test_a_plan_shows_the_beginning_of_a_part_that_is_very_long(workspace: Workspace) -> None:
    workspace.source(1, text=["x" * 1_000_000])
    plan = workspace.run(dry_run=True)
    assert plan["first_prompt"].endswith("x ... (1,000,004 characters in all)")
    assert len(plan["first_prompt"]) < 2_100
