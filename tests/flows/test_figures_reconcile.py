"""Every figure reconciles: the receipt, the sum of its batches, the sum of its rows, and the service's own count of what it
served are one and the same, whatever went wrong on the way."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import Connection

from configs.clock import SystemClock
from configs.progress import SilentReporter
from rigs.clock import JumpingClock
from rigs.interrupted import stopped_after_submitting
from rigs.real_time import USAGE, RealTime
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.ledger.run_ledger import RunLedger
from tasks.runs import prices
from tasks.usage.aggregate import usage_of
from tasks.usage.document import By
from tasks.usage.period import Period, zone_of
from tasks.usage.prometheus import as_prometheus

ROWS = 20
INPUT_USD, OUTPUT_USD = 3e-6, 7e-6  # a token
AT_ONCE = 2.5  # times that, by a real-time call


@pytest.fixture
def letters(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, fast_faults: None) -> Workspace:
    """A job of two chunks with a price."""
    price = {"model": "m", "input": INPUT_USD * 1e6, "output": OUTPUT_USD * 1e6}
    at_once = {
        "model": "m",
        "lane": "standard",
        "input": AT_ONCE * price["input"],
        "output": AT_ONCE * price["output"],
    }
    monkeypatch.setattr(prices, "load_prices", lambda: {"prices": [price, at_once]})
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


def counters(workspace: Workspace) -> dict[str, float]:
    """What Prometheus would scrape now of counters and histograms, by name and what it is of."""
    return {
        " ".join(
            [sample.name, *(sample.labels[label] for label in ("kind", "le") if label in sample.labels)]
        ): sample.value
        for family in text_string_to_metric_families(as_prometheus(workspace.ledger))
        if family.type != "gauge"
        for sample in family.samples
    }


def reconciles(workspace: Workspace, receipt: dict[str, Any], calls: int = 0) -> None:
    """All four counts of tokens and dollars are one; so many real-time calls were served beside the batches."""
    key = receipt["key"]
    tokens = served(workspace, key)
    usd = tokens["input"] * INPUT_USD + tokens["output"] * OUTPUT_USD
    at_once = {"input": calls * USAGE["prompt_tokens"], "output": calls * USAGE["completion_tokens"]}
    usd += AT_ONCE * (at_once["input"] * INPUT_USD + at_once["output"] * OUTPUT_USD)
    tokens = {kind: tokens[kind] + at_once[kind] for kind in tokens}
    batches, out = workspace.batches_of(key), workspace.out
    for kind in ("input", "output"):
        of_batches = sum(getattr(batch, f"{kind}_tokens") or 0 for batch in batches)
        of_rows = sum(out[f"llm_{kind}_tokens"].drop_null().to_pylist())
        assert receipt["tokens"][kind] == of_batches == of_rows == tokens[kind]
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


@pytest.mark.parametrize(
    ("faults", "refused", "failures"),
    [
        ("null_counts,row_error:400:t-3", 0, 1),
        ("null_counts,expire_after:0.5*1", 0, None),
        ("fail:token_limit_exceeded", 1, 0),
        ("fail:mismatched_model*9", 0, ROWS),
    ],
)
def test_counters_never_fall_and_end_with_what_came_out(
    letters: Workspace, monkeypatch: pytest.MonkeyPatch, faults: str, refused: int, failures: int | None
) -> None:
    scraped: list[dict[str, float]] = []
    change, turn = RunLedger._change, threading.Lock()

    @contextmanager
    def change_and_scrape(ledger: RunLedger) -> Iterator[Connection]:
        with change(ledger) as connection:
            yield connection
        with turn:
            scraped.append(counters(letters))

    monkeypatch.setattr(RunLedger, "_change", change_and_scrape)
    letters.faults(f"{faults},nonce-{uuid.uuid4().hex}")
    letters.run()
    for before, after in itertools.pairwise(scraped):
        assert {name: value for name, value in before.items() if after.get(name, -1) < value} == {}
    end = scraped[-1]
    assert end["nightmail_refused_batches_total"] == refused
    assert failures in (None, end["nightmail_failures_total"])
    unanswered = sum(batch.requests for batch in letters.batches()) - end["nightmail_requests_total"]
    assert unanswered == sum(batch.requests for batch in letters.batches() if batch.input_tokens is None)


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


def test_rows_that_real_time_calls_answer_after_a_deadline(
    letters: Workspace, real_time: RealTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def due() -> bool:
        run = letters.ledger.latest_run("letters", "k")
        posted = letters.batches() if run else ()
        return len(posted) == 2 and all((each.completed or 0) >= each.requests // 2 for each in posted)

    clock = JumpingClock(due, timedelta(hours=9))
    monkeypatch.setattr("tasks.enrich.SystemClock", lambda: clock)
    letters.change("provider.base_url", real_time.url)
    letters.change("deadline", {"after": "8h", "max_rows": ROWS})
    letters.faults("hold_after:0.5")
    real_time.refused = {"Say word 10": 400, "Say word 19": 400}
    receipt = letters.run()
    failed = sum(real_time.asked[text] for text in real_time.refused)
    answered = len(real_time.bodies) - failed
    assert answered > 5
    reconciles(letters, receipt, answered)
    (use,) = receipt["real_time"]
    by_lane = (
        AT_ONCE * answered * (USAGE["prompt_tokens"] * INPUT_USD + USAGE["completion_tokens"] * OUTPUT_USD)
    )
    assert (use["rows"], use["cost_usd"]) == (answered + failed, pytest.approx(by_lane, rel=1e-9))
    assert letters.column("llm_lane").count("standard") == answered + failed
    found = usage_of(letters.ledger, Period(None, None, zone_of("UTC")), By.ACCOUNT)
    assert found.total.cost_usd == pytest.approx(receipt["cost_usd"], rel=1e-9)
    assert min(group.figures.cost_usd or 0.0 for group in found.groups) > 0
    assert pytest.approx(by_lane, rel=1e-9) in [group.figures.cost_usd for group in found.groups]


def test_reused_rows_cost_the_run_that_bought_them_and_no_other(letters: Workspace) -> None:
    letters.change("reuse", True)
    first = letters.run(key="first")
    reconciles(letters, first)
    letters.source(ROWS + 3)
    second = letters.run(key="second")
    assert letters.statuses() == {"reused": ROWS, "succeeded": 3}
    reconciles(letters, second)
    assert second["reused"]["saved_usd"] == pytest.approx(first["cost_usd"], rel=1e-6)  # kept as float32


def test_statistics_are_the_sum_of_the_receipts(letters: Workspace) -> None:
    letters.change("reuse", True)
    receipts = [letters.run(key="first")]
    letters.source(ROWS + 3)
    letters.faults("row_error:400:t-21")
    receipts.append(letters.run(key="second"))
    letters.change("name", "notes")
    letters.change("output.path", "out/notes")
    letters.faults("expire_after:0.5*1")
    receipts.append(letters.run(key="third"))

    found = usage_of(letters.ledger, Period(None, None, zone_of("UTC")), By.JOB)

    def total(*path: str) -> float:
        return sum(functools.reduce(operator.getitem, path, receipt) for receipt in receipts)

    figures = found.total
    assert figures.batches == total("batches", "posted")
    for kind in ("input", "output", "cached", "reasoning"):
        assert getattr(figures.tokens, kind) == total("tokens", kind)
    assert figures.cost_usd == pytest.approx(total("cost_usd"), rel=1e-9)
    assert figures.reused.rows == total("reused", "rows") == ROWS
    assert figures.reused.saved_usd == pytest.approx(total("reused", "saved_usd"), rel=1e-9)
    # Every row that is answered was answered once; what is not was asked in vain, once for each attempt.
    answered = sum(receipt["rows"]["succeeded"] for receipt in receipts)
    batches = letters.all_batches()
    assert figures.answers == answered == 2 * ROWS + 3 + 2
    assert figures.requests == sum(batch.requests for batch in batches)
    assert figures.failures == figures.requests - answered > 1
    assert {group.name: group.figures.cost_usd for group in found.groups} == {
        "letters": pytest.approx(receipts[0]["cost_usd"] + receipts[1]["cost_usd"], rel=1e-9),
        "notes": pytest.approx(receipts[2]["cost_usd"], rel=1e-9),
    }
