"""Figures over the ledger: what counts, how times are weighted, what is unknown, and which day it was."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from configs.clock import SystemClock
from rigs.past_batches import MIDNIGHT, Past, as_read, remember
from tasks.ledger.store import Ledger
from tasks.usage.aggregate import summed_up, usage_of
from tasks.usage.document import By, Usage
from tasks.usage.period import Period

UTC = ZoneInfo("UTC")
ALWAYS = Period(None, None, UTC)


def usage(*past: Past, by: By = By.MODEL, period: Period = ALWAYS) -> Usage:
    """Statistics of these batches."""
    return summed_up(*as_read(past), period, by)


def test_all_figures_of_two_batches() -> None:
    small = Past(queued=60, lasted=600)
    large = Past(queued=120, lasted=1_000, values={"requests": 30, "answered_requests": 24, "cost_usd": 1.5})
    found = usage(small, large)
    assert found.total.model_dump() == {
        "batches": 2,
        "refused_batches": 0,
        "requests": 40,
        "answers": 34,
        "failures": 6,
        "failure_rate": 6 / 40,
        "batch_seconds_mean": (600 * 10 + 1_000 * 30) / 40,
        "batch_seconds_p95": 1_000,
        "queue_seconds_mean": (60 * 10 + 120 * 30) / 40,
        "tokens": {"input": 200, "output": 40, "cached": 10, "reasoning": 4},
        "cost_usd": 2.0,
        "known_cost_usd": 2.0,
        "unpriced_batches": 0,
        "usd_per_1000_answers": 2.0 * 1000 / 34,
        "reused": {"rows": 0, "saved_usd": 0.0},
    }
    assert [(group.name, group.figures) for group in found.groups] == [("m", found.total)]


@pytest.mark.parametrize("by", [By.MODEL, By.DAY])
def test_real_time_calls_count_in_all_figures_but_the_times_of_batches(by: By) -> None:
    at_once = Past(queued=0, lasted=5, values={"lane": "standard", "requests": 30, "cost_usd": 4.0})
    both, batch = usage(Past(), at_once, by=by).total, usage(Past(), by=by).total
    assert (both.requests, both.cost_usd, both.batches) == (40, 4.5, 2)
    for name in ("batch_seconds_mean", "batch_seconds_p95", "queue_seconds_mean"):
        assert getattr(both, name) == getattr(batch, name) is not None
    alone = usage(at_once, by=by).total
    assert (alone.batch_seconds_mean, alone.batch_seconds_p95, alone.queue_seconds_mean) == (None, None, None)


def test_nothing_ended() -> None:
    found = usage(Past(values={"ended_at": None}))
    assert found == usage_of(None, ALWAYS, By.MODEL)
    assert (found.total.requests, found.total.cost_usd, found.total.failure_rate) == (0, 0.0, None)
    assert (found.groups, found.days) == ((), ())


@pytest.mark.parametrize(
    ("values", "failures"),
    [
        ({"answered_requests": 7, "completed": 10, "failed": 0}, 3),
        ({"answered_requests": None, "completed": 8, "counted_requests": None, "failed": 2}, 2),
        ({"answered_requests": None, "completed": None, "counted_requests": 9}, 1),
        ({"answered_requests": None, "completed": 0, "counted_requests": 10}, 0),
        ({"answered_requests": None, "completed": None, "counted_requests": None}, 10),
        ({"answered_requests": 11}, 0),
    ],
    ids=["lines", "counts of the provider", "no counts", "counts of zero", "never read", "more than asked"],
)
def test_failures_are_the_requests_without_an_answer(values: dict[str, Any], failures: int) -> None:
    total = usage(Past(values=values)).total
    assert (total.requests, total.failures, total.failure_rate) == (10, failures, failures / 10)


@pytest.mark.parametrize("status", ["completed", "failed", "expired"])
def test_a_batch_whose_answers_are_not_read_yet_counts_neither_as_answered_nor_as_failed(status: str) -> None:
    unread = Past(unread=True, lasted=9_000, values={"status": status, "completed": None})
    found, without = usage(Past(), unread).total, usage(Past()).total
    costs = {"cost_usd", "unpriced_batches", "usd_per_1000_answers"}
    assert found.model_dump(exclude=costs) == without.model_dump(exclude=costs)
    # One that failed cost nothing, as far as anybody knows.
    assert found.unpriced_batches == (0 if status == "failed" else 1)


def test_a_batch_that_was_refused_and_posted_again_counts_once() -> None:
    refused = {"status": "failed", "input_tokens": None, "cost_usd": None, "answered_requests": None}
    total = usage(Past(values=refused), Past()).total
    assert (total.batches, total.refused_batches, total.requests, total.failures) == (1, 1, 10, 0)
    assert (total.cost_usd, total.unpriced_batches) == (0.5, 0)
    # The last posting of an attempt stands for its rows, also when it is refused: its merge has booked nothing for it.
    failed = {"status": "failed", "input_tokens": 0, "cost_usd": 0.0, "answered_requests": 0, "completed": 0}
    total = usage(Past(values=failed)).total
    assert (total.batches, total.refused_batches, total.failures, total.failure_rate) == (1, 0, 10, 1.0)


def test_one_unknown_price_makes_the_sum_unknown_and_says_what_is_known() -> None:
    found = usage(Past(), Past(values={"model": "new", "cost_usd": None}))
    assert (found.total.cost_usd, found.total.known_cost_usd, found.total.unpriced_batches) == (None, 0.5, 1)
    assert found.total.usd_per_1000_answers is None
    assert [(group.name, group.figures.cost_usd) for group in found.groups] == [("m", 0.5), ("new", None)]


@pytest.mark.parametrize(
    ("sizes", "p95"), [([1] * 20, 19), ([1] * 21, 20), ([94, 6], 2), ([95, 5], 1), ([1, 99], 2), ([7], 1)]
)
def test_p95_is_the_shortest_time_that_covers_95_of_100_requests(sizes: list[int], p95: float) -> None:
    past = [Past(lasted=n, values={"requests": size}) for n, size in enumerate(sizes, start=1)]
    found = usage(*reversed(past))
    assert found.total.batch_seconds_p95 == found.groups[0].figures.batch_seconds_p95 == p95


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({}, 60),
        ({"history": []}, None),
        ({"history": [["queued", MIDNIGHT.isoformat()]]}, None),
        ({"history": [["running", MIDNIGHT.isoformat()]]}, 0),
        ({"create_sent_at": None}, 90),
        ({"create_sent_at": MIDNIGHT + timedelta(days=1)}, 0),
    ],
    ids=[
        "queued first",
        "never looked at",
        "always queued",
        "never queued",
        "an old posting",
        "a clock set back",
    ],
)
def test_queue_time_is_until_the_first_look_beyond_the_queue(
    values: dict[str, Any], seconds: float | None
) -> None:
    assert usage(Past(queued=60, values=values)).total.queue_seconds_mean == seconds


def test_days_are_those_of_the_zone_and_the_ones_between_are_empty() -> None:
    late = MIDNIGHT - timedelta(hours=2)  # 22:00 UTC is the next morning in Tokyo
    past = [Past(start=late, lasted=0), Past(start=late + timedelta(days=2), lasted=0)]
    tokyo = usage(*past, by=By.DAY, period=Period(None, None, ZoneInfo("Asia/Tokyo")))
    assert [(day.name, day.figures.requests) for day in tokyo.days] == [
        ("2026-11-22", 10),
        ("2026-11-23", 0),
        ("2026-11-24", 10),
    ]
    assert [day.name for day in tokyo.groups] == ["2026-11-22", "2026-11-24"]
    utc = usage(*past, by=By.DAY)
    assert [day.name for day in utc.groups] == ["2026-11-21", "2026-11-23"]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (By.MODEL, ["dear", "cheap"]),
        (By.PROVIDER, ["gemini", "openai"]),
        (By.JOB, ["notes", "letters"]),
        (By.ACCOUNT, ["other", "acc"]),
    ],
)
def test_groups_come_by_cost_and_add_up(by: By, names: list[str]) -> None:
    dear = {"model": "dear", "provider": "gemini", "account": "other", "cost_usd": 9.0}
    found = usage(Past(values={"model": "cheap"}), Past("notes", values=dear), by=by)
    assert [group.name for group in found.groups] == names
    assert sum(group.figures.known_cost_usd for group in found.groups) == found.total.cost_usd == 9.5
    assert sum(group.figures.requests for group in found.groups) == found.total.requests == 20


def test_reused_rows_count_when_their_run_is_finished() -> None:
    past = [Past(reused={"rows": 3, "saved_usd": 0.25}), Past(reused={"rows": 2, "saved_usd": None})]
    found = usage(*past)
    assert found.total.reused.model_dump() == {"rows": 5, "saved_usd": None}
    assert found.groups[0].figures.reused.rows == found.days[0].figures.reused.rows == 5


def test_a_run_that_only_reused_answers_has_no_account() -> None:
    only = Past(reused={"rows": 3, "saved_usd": 0.25}, values={"batch_id": None})
    found = usage(only, Past(), by=By.ACCOUNT)
    assert [(group.name, group.figures.reused.rows) for group in found.groups] == [("acc", 0), (None, 3)]
    assert [(group.name, group.figures.requests) for group in usage(only).groups] == [("m", 0)]


def test_a_ledger_is_asked_for_the_period_and_the_job(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    reused = {"rows": 3, "saved_usd": 0.25}
    remember(url, [Past(start=MIDNIGHT + timedelta(days=n), reused=reused) for n in range(3)])
    remember(url, [Past("notes")])
    ledger = Ledger(url, SystemClock())
    period = Period(MIDNIGHT, MIDNIGHT + timedelta(days=2), UTC)
    found = usage_of(ledger, period, By.JOB)
    assert [(group.name, group.figures.requests) for group in found.groups] == [
        ("letters", 20),
        ("notes", 10),
    ]
    assert found.total.reused.rows == 6
    alone = usage_of(ledger, period, By.JOB, "letters")
    assert (alone.job, alone.total) == ("letters", found.groups[0].figures)
