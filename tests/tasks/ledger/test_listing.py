"""Runs and batches as pages: found, counted and added up by the database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rigs.clock import HandClock
from rigs.console import START, fill
from tasks.ledger.caps import SpendingCap
from tasks.ledger.database import open_database
from tasks.ledger.listing import BatchSearch, QueueLine, RunSearch
from tasks.ledger.schema import quotas, waiters
from tasks.ledger.store import Ledger

SPEC = {"name": "letters"}
RUNS = (
    (RunSearch(), 30),
    (RunSearch(text="KEY-001"), 10),
    (RunSearch(text="letters/key-0007"), 1),
    (RunSearch(text="run00029"), 1),
    (RunSearch(state="running"), 3),
    (RunSearch(text="key-0009", state="finished"), 0),
    (RunSearch(text="%"), 0),
    (RunSearch(text="_ey"), 0),
    (RunSearch(text="' OR 1=1 --"), 0),
)
BATCHES = (
    (BatchSearch(), 150),
    (BatchSearch(text="batch_00003"), 5),
    (BatchSearch(text="FILE-00003-2"), 1),
    (BatchSearch(text="letters/key-0003"), 5),
    (BatchSearch(text="run00003/4"), 1),
    (BatchSearch(text="not known 100 %"), 27),
    (BatchSearch(text="gpt-5.4"), 150),
    (BatchSearch(status="failed"), 27),
    (BatchSearch(status="running"), 9),
    (BatchSearch(account="https://api.example.com/v1"), 75),
    (BatchSearch(account="https://api.example.com"), 0),
    (BatchSearch(run_id="run00003"), 5),
    (BatchSearch(text="batch_00003", status="failed"), 1),
)


@pytest.fixture
def filled(ledger: Ledger, ledger_url: str) -> Ledger:
    """Thirty runs with five batches each; every tenth is under way."""
    fill(ledger_url, SPEC, count=30, text="100 % of it")
    return ledger


def test_runs_are_found_by_what_they_are_called(filled: Ledger) -> None:
    for search, found in RUNS:
        assert filled.listing.count_runs(search) == found, search
        assert len(filled.listing.runs(search, 50)) == found, search


def test_batches_are_found_by_any_id_name_or_error(filled: Ledger) -> None:
    for search, found in BATCHES:
        assert filled.listing.count_batches(search) == found, search
        times = [line.batch.intended_at for line in filled.listing.batches(search, 200)]
        assert len(times) == found, search
        assert times == sorted(times, reverse=True)


def test_runs_come_newest_first_a_page_at_a_time(filled: Ledger) -> None:
    keys = [line.run.key for line in filled.listing.runs(RunSearch(), 4, offset=4)]
    assert keys == ["key-0025", "key-0024", "key-0023", "key-0022"]


def test_a_run_under_way_says_how_far_it_is(filled: Ledger) -> None:
    (line,) = filled.listing.runs(RunSearch(text="key-0029"), 1)
    assert (line.chunks, line.merged, line.rows, line.rows_merged) == (5, 2, 5000, 2000)
    assert (line.posted, line.open_requests, line.open_completed) == (5, 3000, 1200)
    assert line.next_look_at == START + timedelta(hours=29, days=300)
    assert line.waiting_for == "the batch at the provider 100 % of it"
    assert line.cost_usd == pytest.approx(0.0842)
    assert line.unpriced == 0


def test_a_run_without_chunks_has_zeros(ledger: Ledger, ledger_url: str) -> None:
    fill(ledger_url, SPEC, count=1, batches_each=1)
    (run,) = ledger.recent_runs()
    assert ledger.listing.lines_of([]) == ()
    (line,) = ledger.listing.lines_of([run])
    assert (line.chunks, line.next_look_at) == (1, None)


def test_a_batch_is_its_last_posting(filled: Ledger) -> None:
    batch = filled.listing.batch("run00003", 2, 1)
    assert batch is not None
    assert (batch.batch_id, batch.history[0][0]) == ("batch_00003_2", "queued")
    assert filled.listing.batch("run00003", 2, 9) is None


def test_accounts_and_the_newest_run_of_each_job(filled: Ledger) -> None:
    assert filled.listing.accounts() == ("https://api.example.com/v1", "https://other.example.com/v1")
    assert [run.key for run in filled.listing.newest_runs_by_job(9)] == ["key-0029"]


def test_a_queue_holds_what_is_open_under_the_limit_that_is_known(
    filled: Ledger, ledger_url: str, clock: HandClock
) -> None:
    clock.time = START + timedelta(hours=30)
    (queue,) = filled.listing.queues(clock.now())
    account, model = "https://api.example.com/v1", "gpt-5.4-mini"
    assert queue == QueueLine(account, model, 1_080_000, 9, waiting=0, limit=None, source=None)
    with open_database(ledger_url).begin() as connection:
        for source, tokens in (("stated", 2_000_000), ("guessed", 1_000_000)):
            learned = {
                "account": account,
                "model": model,
                "kind": "enqueued_tokens",
                "learned_at": clock.now(),
            }
            connection.execute(quotas.insert().values(**learned, source=source, amount=tokens))
        waiter = {"run_id": "run00029", "chunk": 3, "account": account, "model": model, "looks": 1}
        due = clock.now() + timedelta(minutes=5)
        connection.execute(waiters.insert().values(**waiter, since=clock.now(), next_look_at=due))
    clock.sleep(2 * 3600)  # a guess grows, and whoever did not look again is gone
    (queue,) = filled.listing.queues(clock.now())
    assert queue == QueueLine(account, model, 1_080_000, 9, waiting=0, limit=1_210_000, source="guessed")
    clock.sleep(-2 * 3600)
    (queue,) = filled.listing.queues(clock.now())
    assert (queue.waiting, queue.limit) == (1, 1_000_000)


def test_what_a_budget_has_promised_is_what_open_batches_reserve(filled: Ledger) -> None:
    everything = SpendingCap("all", lambda *_: True, tokens=10**9, since=START)
    promised = filled.promised(everything, "")
    assert promised == 9 * 120_000
    # Failed batches asked nothing; the others took 160,000 tokens each.
    assert filled.spent(everything, "") == promised + (150 - 9 - 27) * 160_000
