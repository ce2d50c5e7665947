"""What statistics are made of is read alike from every database."""

from __future__ import annotations

import tracemalloc
from collections import deque
from datetime import timedelta
from typing import Any

import pytest

from rigs.past_batches import MIDNIGHT, Past, remember
from tasks.ledger.database import open_database
from tasks.ledger.ended import Span
from tasks.ledger.schema import chunks, runs
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState

HOUR = timedelta(hours=1)


def test_a_batch_comes_with_the_job_of_its_run_and_what_is_known_of_it(
    ledger: Ledger, ledger_url: str
) -> None:
    remember(ledger_url, [Past(values={"cost_usd": None, "input_tokens": None})])
    (batch,) = ledger.ended_batches((None, None))
    assert (batch.job, batch.provider, batch.model, batch.account) == ("letters", "openai", "m", "acc")
    assert (batch.requests, batch.answered_requests, batch.cost_usd, batch.input_tokens) == (
        10,
        10,
        None,
        None,
    )
    assert batch.ended_at == MIDNIGHT + timedelta(minutes=10)
    assert [status for status, _ in batch.history] == ["queued", "running", "completed"]


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ((None, None), [0, 1, 2]),
        ((MIDNIGHT + HOUR, None), [1, 2]),
        ((None, MIDNIGHT + HOUR), [0]),
        ((MIDNIGHT, MIDNIGHT + 2 * HOUR), [0, 1]),
        ((MIDNIGHT + 3 * HOUR, None), []),
    ],
)
def test_batches_are_found_by_the_time_they_ended_whose_end_is_left_out(
    ledger: Ledger, ledger_url: str, span: Span, found: list[int]
) -> None:
    remember(ledger_url, [Past(start=MIDNIGHT + hours * HOUR, lasted=0) for hours in (2, 0, 1)])
    ended = [batch.ended_at for batch in ledger.ended_batches(span)]
    assert ended == [MIDNIGHT + hours * HOUR for hours in found]


def test_batches_that_run_or_never_came_to_be_are_left_out(ledger: Ledger, ledger_url: str) -> None:
    remember(ledger_url, [Past(values={"ended_at": None}), Past(values={"batch_id": None})])
    assert list(ledger.ended_batches((None, None))) == []


@pytest.mark.parametrize(
    ("booked", "chunk", "is_final"),
    [
        (None, {"state": "submitted"}, False),
        (None, {"state": "ended"}, False),
        (None, {"state": "collected"}, False),
        (None, {"state": "merged"}, True),
        (None, {"state": "uploaded", "posting": 2}, True),
        (None, {"state": "prepared", "attempt": 2}, True),
        (0, {"state": "prepared", "attempt": 2}, True),
        (7, {"state": "collected"}, True),
    ],
)
def test_its_figures_are_final_once_they_are_booked_or_another_posting_stands_for_its_rows(
    ledger: Ledger, ledger_url: str, booked: int | None, chunk: dict[str, Any], is_final: bool
) -> None:
    remember(ledger_url, [Past(values={"input_tokens": booked})])
    with open_database(ledger_url).begin() as connection:
        connection.execute(chunks.update().values(**chunk))
    (batch,) = ledger.ended_batches((None, None))
    assert batch.is_final is is_final


def test_a_cancelled_run_may_go_on_so_what_is_not_read_of_it_is_not_final(
    ledger: Ledger, ledger_url: str
) -> None:
    remember(ledger_url, [Past(unread=True)])
    with open_database(ledger_url).begin() as connection:
        connection.execute(runs.update().values(state=RunState.CANCELLED))
    (batch,) = ledger.ended_batches((None, None))
    assert not batch.is_final


def test_one_job_is_told_from_the_others(ledger: Ledger, ledger_url: str) -> None:
    saved = {"rows": 3, "saved_usd": 0.1}
    remember(ledger_url, [Past("a", reused=saved), Past("b", reused=saved)])
    assert [batch.job for batch in ledger.ended_batches((None, None), "b")] == ["b"]
    assert [run.job for run in ledger.reusing_runs((None, None), "b")] == ["b"]


def test_runs_say_how_many_rows_they_reused_and_what_that_saved(ledger: Ledger, ledger_url: str) -> None:
    reused = [
        {"rows": 3, "saved_usd": 0.25},
        {"rows": 2, "saved_usd": None},
        {"rows": 0, "saved_usd": 0.0},
        None,
    ]
    remember(ledger_url, [Past(start=MIDNIGHT + n * HOUR, reused=each) for n, each in enumerate(reused)])
    runs = list(ledger.reusing_runs((None, None)))
    assert [(run.rows, run.saved_usd) for run in runs] == [(3, 0.25), (2, None)]
    assert {(run.provider, run.model, run.account) for run in runs} == {("openai", "m", "acc")}
    assert [run.rows for run in ledger.reusing_runs((MIDNIGHT + HOUR, None))] == [2]


def test_reading_many_batches_takes_no_more_memory_than_reading_some(ledger: Ledger, ledger_url: str) -> None:
    def peak() -> int:
        tracemalloc.start()
        try:
            deque(ledger.ended_batches((None, None)), maxlen=0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    remember(ledger_url, [Past(lasted=n) for n in range(2_000)])
    peak()  # what SQLAlchemy keeps of a query is made at the first
    some = peak()
    remember(ledger_url, [Past(lasted=n) for n in range(4_000)])
    assert peak() < 1.5 * some
