"""The receipt and the plan are contracts: their JSON stays as it is, and what earlier versions wrote can be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from pydantic import ValidationError

from tasks.stages.report.budget_state import BudgetState
from tasks.stages.report.estimate import CostRange, Estimate, TokenRange
from tasks.stages.report.plan import Plan
from tasks.stages.report.plan_text import plan_as_markdown, plan_as_text
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import as_markdown, as_text

# As 0.1.0 wrote it, before there was a version.
FIRST_RECEIPT: dict[str, Any] = {
    "job": "letters",
    "key": "2026-11-21",
    "generation": 2,
    "run": "96a1c0ffee",
    "date": "2026-11-21",
    "source": "/data/rows.parquet",
    "source_fingerprint": "b1946ac92492d234",
    "output": "/data/out/letters",
    "report": "/data/out/letters/_report.html",
    "result_lines": [],
    "run_folder": "/data/.nightmail/runs/letters/2026-11-21@2",
    "provider": "openai",
    "answered_by": "openai",
    "model": "gpt-5.4-mini",
    "rows": {"total": 120, "succeeded": 115, "refused": 1, "failed": 3, "skipped": 1},
    "bad_lines": 2,
    "ranges_left_out": 0,
    "chunks": 2,
    "batches": {"posted": 3, "follow_ups": 1},
    "tokens": {"input": 11877, "output": 6952, "cached": 30, "reasoning": 40},
    "cost_usd": 0.0123,
    "cache": None,
    "reused": None,
    "real_time": [],
    "estimate": None,
    "estimate_deviation": None,
    "budgets": [],
    "retryable": 3,
    "errors": [{"code": "server_error", "rows": 3, "example": "The server had an error"}],
    "error_budget": 0.05,
    "odd_lines": {"unknown_ids": 1, "duplicate_lines": 2, "unparsable_lines": 3},
    "started_at": "2026-11-21T17:40:13.123456+00:00",
    "finished_at": "2026-11-21T18:00:13+00:00",
    "seconds": 1200.1,
}

PLAN = Plan(
    job="letters",
    key="2026-11-21",
    job_file="letters.yaml",
    source="rows.parquet",
    output="out/letters",
    provider="openai",
    endpoint="/v1/chat/completions",
    model="gpt-5.4-mini",
    rows=12,
    chunks=1,
    batches=1,
    requests=10,
    bytes=4096,
    skipped=2,
    skips={"row_too_large": 2},
    bad_lines=0,
    estimate=Estimate(prompt_tokens=1000, method="estimate, ± 20 %", cost_usd=0.5),
    first_prompt="[user] Say hi",
)


def test_a_receipt_of_the_previous_version_loads_and_is_the_same_but_for_its_version() -> None:
    receipt = Receipt.model_validate(FIRST_RECEIPT)
    assert receipt.as_json() == {"version": 1, **FIRST_RECEIPT}
    assert list(receipt.as_json()) == ["version", *FIRST_RECEIPT], "people read it, too"
    assert json.loads(receipt.to_bytes()) == receipt.as_json()
    assert Receipt.model_validate(receipt.as_json()) == receipt


def test_a_receipt_from_before_it_told_of_retries_and_report_loads() -> None:
    later = (
        "report",
        "result_lines",
        "retryable",
        "error_budget",
        "source_fingerprint",
        "bad_lines",
        "ranges_left_out",
        "cache",
        "reused",
        "real_time",
        "estimate",
        "estimate_deviation",
        "budgets",
    )
    receipt = Receipt.model_validate({k: v for k, v in FIRST_RECEIPT.items() if k not in later})
    assert (receipt.report, receipt.retryable, receipt.error_budget) == (None, 0, None)


def test_a_cost_is_unknown_where_a_call_may_have_been_paid_for() -> None:
    lost = {"code": "reply_lost", "rows": 2, "example": "The upstream did not answer."}
    receipt = Receipt.model_validate({**FIRST_RECEIPT, "cost_usd": None, "errors": [lost]})
    assert "cost     unknown: 2 real-time calls that got no reply may have been paid for\n" in as_text(
        receipt
    )


def test_what_a_later_version_adds_is_left_out_and_another_format_is_refused() -> None:
    assert Receipt.model_validate({**FIRST_RECEIPT, "moon": "full"}) == Receipt.model_validate(FIRST_RECEIPT)
    with pytest.raises(ValidationError, match="version"):
        Receipt.model_validate({**FIRST_RECEIPT, "version": 2})


@pytest.mark.parametrize("document", [Receipt.model_validate(FIRST_RECEIPT), PLAN], ids=["receipt", "plan"])
def test_what_is_written_satisfies_the_published_schema(document: Receipt | Plan) -> None:
    schema = type(document).json_schema()
    validator = jsonschema_rs.validator_for(schema)
    validator.validate(document.as_json())
    assert set(schema["properties"]) == set(document.as_json())
    for name in schema["properties"]:
        without = {key: value for key, value in document.as_json().items() if key != name}
        assert validator.is_valid(without) == (name not in schema["required"])
    assert not validator.is_valid({**document.as_json(), "version": 2})


@pytest.mark.parametrize(
    "rows",
    [{"succeeded": 1}, {"total": 1, "unparsable": 1}, {"total": "many"}, [1], None, {"total": 1, "no": 1}],
)
def test_rows_that_cannot_be_counted_are_refused(rows: object) -> None:
    with pytest.raises(ValidationError):
        Receipt.model_validate({**FIRST_RECEIPT, "rows": rows})


@pytest.mark.parametrize("text", [as_text, as_markdown])
def test_odd_lines_are_said_where_there_are_any(text: Callable[[Receipt], str]) -> None:
    receipt = Receipt.model_validate(FIRST_RECEIPT)
    odd = "1 for rows that were not asked, 2 more than one for a row, 3 that could not be read"
    assert odd in text(receipt)
    none = dict.fromkeys(FIRST_RECEIPT["odd_lines"], 0)
    assert "not asked" not in text(Receipt.model_validate({**FIRST_RECEIPT, "odd_lines": none}))


@pytest.mark.parametrize(
    ("budget", "over"), [(None, False), (0.05, False), (0.04, True), (0, True), (5 / 120, False)]
)
def test_a_run_is_over_budget_when_more_of_its_rows_lack_an_answer(budget: float | None, over: bool) -> None:
    receipt = Receipt.model_validate({**FIRST_RECEIPT, "error_budget": budget})
    assert receipt.is_over_budget is over
    assert ("Over the error budget" in as_markdown(receipt)) is over
    assert ("  budget   4.2% of the rows have no answer" in as_text(receipt)) is over


def test_a_run_without_rows_is_never_over_budget() -> None:
    assert not Receipt.model_validate(
        {**FIRST_RECEIPT, "rows": {"total": 0}, "error_budget": 0}
    ).is_over_budget


def test_the_plan_keeps_the_names_it_had_before_its_estimate() -> None:
    written = PLAN.as_json()
    assert (written["prompt_tokens"], written["tokens_method"], written["prompt_cost_usd"]) == (
        1000,
        "estimate, ± 20 %",
        0.5,
    )
    assert Plan.model_validate(written) == PLAN


FREE = {"cost_usd": 0.0, "total_usd": CostRange(low=0, expected=0, high=0), "price_source": "runs here"}
PRICED = {
    "cost_usd": 0.5,
    "output": TokenRange(low=0, high=9_000),
    "output_method": "at most max_tokens for each request",
    "total_usd": CostRange(low=0.4, high=2.5),
    "realtime_usd": CostRange(low=0.8, high=5),
    "price_source": "list",
    "price_date": "2026-10-01",
}


@pytest.mark.parametrize(
    ("estimate", "lines"),
    [
        ({"cost_usd": None}, ["  cost     unknown price"]),
        (FREE, ["  cost     free"]),
        (
            PRICED,
            [
                "  answers  at most 9,000 tokens (at most max_tokens for each request)",
                "  cost     about $0.5000 for the prompts, $0.4000 to $2.5000 with the answers",
                "  realtime $0.8000 to $5.0000 with the answers",
                "  price    list, since 2026-10-01",
            ],
        ),
        (
            {**PRICED, "total_usd": CostRange(low=0.4), "realtime_usd": CostRange(), "price_date": None},
            ["  cost     about $0.5000 for the prompts, $0.4000 or more with the answers", "  price    list"],
        ),
        (
            {**PRICED, "cost_usd": None, "total_usd": CostRange()},
            ["  cost     unknown for the prompts, unknown with the answers"],
        ),
    ],
)
def test_the_plan_as_text_never_guesses_a_price(estimate: dict[str, Any], lines: list[str]) -> None:
    plan = PLAN.model_copy(update={"estimate": PLAN.estimate.model_copy(update=estimate)})
    shown, page = plan_as_text(plan).splitlines(), plan_as_markdown(plan)
    assert set(lines) <= set(shown)
    assert all(f"| {line.split(maxsplit=1)[1]} |" in page for line in lines)
    assert "2 × row_too_large" in plan_as_text(plan)


@pytest.mark.parametrize(
    ("thought", "text"),
    [
        (CostRange(low=0.01, expected=0.0123, high=0.02), "$0.0123 (estimate: $0.0123, +0.0%)"),
        (CostRange(low=0.01, expected=0.01, high=0.02), "$0.0123 (estimate: $0.0100, +23.0%)"),
        (CostRange(low=0.01, high=0.02), "$0.0123 (estimate: $0.0100 to $0.0200)"),
        (CostRange(low=0.01), "$0.0123\n"),
    ],
)
def test_a_receipt_shows_what_it_was_thought_to_cost(thought: CostRange, text: str) -> None:
    estimated = PLAN.estimate.model_copy(update={"total_usd": thought}).as_json()
    assert text in as_text(Receipt.model_validate({**FIRST_RECEIPT, "estimate": estimated}))


CACHE = {"written": 100, "read": 900, "write_usd": 0.5, "saved_usd": 0.4}


@pytest.mark.parametrize(
    ("cache", "text"),
    [
        (CACHE, "saved $0.4000; warning: it cost $0.1000 more than no cache"),
        ({**CACHE, "saved_usd": 0.6}, "100 tokens written for $0.5000, 900 read, which saved $0.6000\n"),
        ({**CACHE, "write_usd": None}, "written for an unknown sum, 900 read, which saved $0.4000\n"),
    ],
)
def test_a_receipt_says_whether_the_cache_paid(cache: dict[str, Any], text: str) -> None:
    receipt = Receipt.model_validate({**FIRST_RECEIPT, "cache": cache})
    assert text in as_text(receipt)
    assert "Prompt cache: 100 tokens written" in as_markdown(receipt)


@pytest.mark.parametrize(
    ("deviation", "text"),
    [(0.0213, "9 in, 9 out (estimate: 1,000 in, +2.1%)"), (-0.1, "-10.0%"), (None, "9 in, 9 out\n")],
)
def test_a_receipt_shows_the_estimate_beside_what_it_came_to(deviation: float | None, text: str) -> None:
    tokens = {"input": 9, "output": 9, "cached": 0, "reasoning": 0}
    estimated = {"estimate": PLAN.estimate.as_json(), "estimate_deviation": deviation}
    assert text in as_text(Receipt.model_validate({**FIRST_RECEIPT, "tokens": tokens, **estimated}))


def test_receipt_and_plan_say_how_much_of_each_budget_is_gone() -> None:
    budgets = (BudgetState(name="budget.run_usd", unit="usd", limit=2.0, spent=1.25),)
    receipt = Receipt.model_validate(FIRST_RECEIPT).model_copy(update={"budgets": budgets})
    estimated = PLAN.estimate.model_copy(update={"reserved_usd": 0.5, "reserved_method": "by what is known"})
    plan = PLAN.model_copy(update={"budgets": budgets, "estimate": estimated})
    for text in (as_text(receipt), as_markdown(receipt), plan_as_text(plan), plan_as_markdown(plan)):
        assert "$1.25 of $2.00" in text
    for text in (plan_as_text(plan), plan_as_markdown(plan)):
        assert "$0.5000: by what is known" in text
    free = plan.model_copy(update={"budgets": ()})
    assert "by what is known" not in plan_as_text(free), "nothing is reserved where nothing limits it"
