"""Every figure reconciles: the receipt, the sum of its batches, the sum of its rows, and the service's own count of what it
served are one and the same, whatever went wrong on the way."""

from __future__ import annotations

import os
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.progress import SilentReporter
from rigs.interrupted import stopped_after_submitting
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.runs import prices

ROWS = 20
INPUT_USD, OUTPUT_USD = 3e-6, 7e-6  # a token


@pytest.fixture
def letters(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, fast_faults: None) -> Workspace:
    """A job of two chunks with a price."""
    stated = {"prices": [{"model": "m", "input": INPUT_USD * 1e6, "output": OUTPUT_USD * 1e6}]}
    monkeypatch.setattr(prices, "load_prices", lambda: stated)
    workspace.source(ROWS)
    workspace.change("limits.max_requests", 11)
    return workspace


def served(workspace: Workspace, key: str) -> dict[str, int]:
    """Tokens that the service says it served to the run of that key: over all batches that carry the run's name."""
    run = workspace.ledger.latest_run("letters", key)
    assert run is not None
    usages = [
        batch.usage
        for batch in workspace.service.client().batches.list(limit=100)
        if (batch.metadata or {}).get("nightmail_key", "").startswith(f"{run.id}/")
    ]
    return {
        "input": sum(usage.input_tokens for usage in usages if usage),
        "output": sum(usage.output_tokens for usage in usages if usage),
    }


def reconciles(workspace: Workspace, receipt: dict[str, Any]) -> None:
    """All four counts of tokens and dollars are one."""
    key = receipt["key"]
    tokens = served(workspace, key)
    batches, out = workspace.batches_of(key), workspace.out
    for kind in ("input", "output"):
        of_batches = sum(getattr(batch, f"{kind}_tokens") or 0 for batch in batches)
        of_rows = sum(out[f"llm_{kind}_tokens"].drop_null().to_pylist())
        assert receipt["tokens"][kind] == of_batches == of_rows == tokens[kind]
    usd = tokens["input"] * INPUT_USD + tokens["output"] * OUTPUT_USD
    assert receipt["cost_usd"] == pytest.approx(usd, rel=1e-9)
    assert sum(batch.cost_usd or 0.0 for batch in batches) == pytest.approx(usd, rel=1e-9)
    assert sum(out["llm_cost_usd"].to_pylist()) == pytest.approx(usd, rel=1e-9)
    assert out.num_rows == receipt["rows"]["total"]


@pytest.mark.parametrize(
    ("faults", "rows"),
    [
        ("", {"succeeded": 20}),
        ("row_error:400:t-3|t-12", {"succeeded": 18, "failed": 2}),
        ("row_error:500:t-3|t-4*1,nonce-on", {"succeeded": 20}),
        ("expire_after:0.5*1", {"succeeded": 20}),
        ("cancel_after:0.5", None),
        ("expire_after:0", {"expired": 20}),
        ("refusal:t-1,length:t-2,content_filter:t-13", {"succeeded": 17, "truncated": 1, "refused": 2}),
        ("failed_rows_in_output,row_error:500:t-3", {"succeeded": 19, "failed": 1}),
        ("duplicate_lines", {"succeeded": 20}),
    ],
)
def test_whatever_batches_come_to(letters: Workspace, faults: str, rows: dict[str, int] | None) -> None:
    if faults:
        letters.faults(faults)
    receipt = letters.run()
    if rows is not None:
        assert letters.statuses() == rows
    reconciles(letters, receipt)


def test_skipped_rows_and_invalid_answers(letters: Workspace) -> None:
    letters.source(ROWS, b=[b"x" if n == 3 else None for n in range(ROWS)])
    letters.change("prompt.user", "Say {{ text }}{{ b }}")
    letters.change("prompt.schema", {"type": "object", "properties": {"n": {"type": "integer"}}})
    letters.faults("invalid_json:t-5")
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 18, "invalid": 1, "skipped": 1}
    reconciles(letters, receipt)


def test_rows_that_are_asked_again_when_the_run_is_over_add_to_it(letters: Workspace) -> None:
    letters.change("retry.max_attempts", 1)
    letters.faults("expire_after:0.4*2,nonce-on")
    first = letters.run()
    reconciles(letters, first)
    second = letters.run(retry=True)
    assert second["rows"] == {"total": ROWS, "succeeded": ROWS}
    assert second["cost_usd"] > first["cost_usd"] > 0
    reconciles(letters, second)


def test_a_cancelled_run_publishes_what_it_paid_for_and_goes_on(
    letters: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters.change("run.publish_cancelled", True)
    letters.faults("stuck:in_progress*1")
    stopped_after_submitting(letters, monkeypatch)
    cancel_run(letters.home, os.environ, SystemClock(), "letters/k", SilentReporter())
    receipt = letters.run()
    assert receipt["rows"] == {"total": ROWS, "succeeded": ROWS}
    reconciles(letters, receipt)


def test_reused_rows_cost_the_run_that_bought_them_and_no_other(letters: Workspace) -> None:
    letters.change("reuse", True)
    first = letters.run(key="first")
    reconciles(letters, first)
    letters.source(ROWS + 3)
    second = letters.run(key="second")
    assert letters.statuses() == {"reused": ROWS, "succeeded": 3}
    reconciles(letters, second)
    assert second["reused"]["saved_usd"] == pytest.approx(first["cost_usd"], rel=1e-6)  # kept as float32
