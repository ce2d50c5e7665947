"""Looking at many open batches in the provider's list: few requests, few statements, and no trust in what is not plain."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from configs.errors import NightmailError
from configs.progress import SilentReporter
from fakes.openai_fake import OpenAIFake
from rigs.open_batches import all_due, batch_object, counted, open_batches
from rigs.opened_run import opened
from rigs.workspace import Workspace
from tasks.advance import advance
from tasks.ledger.transitions import ChunkState
from tasks.runs.session import Run


@pytest.fixture
def fake() -> Iterator[OpenAIFake]:
    """A provider that shows what a test has put there."""
    made = OpenAIFake()
    yield made
    made.close()


@pytest.fixture
def run(workspace: Workspace, fake: OpenAIFake) -> Iterator[Run]:
    """A run at that provider, whose batches wait for long."""
    workspace.change("provider.base_url", fake.url)
    workspace.change("poll", {"first_seconds": 60, "max_seconds": 600})
    with opened(workspace) as run:
        yield run


def look(workspace: Workspace, run: Run, fake: OpenAIFake) -> tuple[Counter[str], Counter[str]]:
    """What a wake at which all batches are due asks for, and its statements."""
    all_due(workspace.home.ledger_url)
    fake.seen.clear()
    with counted(workspace.home.ledger_url) as statements:
        advance(run, SilentReporter())
    return Counter(fake.seen), statements


def test_200_open_batches_of_which_nothing_is_new_take_two_requests_and_one_transaction(
    workspace: Workspace, run: Run, fake: OpenAIFake
) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 200)
    look(workspace, run, fake)  # at first all is new
    requests, statements = look(workspace, run, fake)
    assert requests == {"list": 2}
    # The fence, the chunks and the batches; chunks and batches are read once.
    assert (statements["BEGIN IMMEDIATE"], statements["UPDATE"], statements["SELECT"]) == (1, 3, 2)
    assert {batch.polls for batch in run.ledger.batches()} == {22}
    assert {chunk.waiting_for for chunk in run.ledger.chunks() if chunk.number == 7} == {
        f"batch batch_{run.id}_7: running, 0 of 100"
    }


def test_what_is_new_is_written_for_the_batch_that_it_is_about(
    workspace: Workspace, run: Run, fake: OpenAIFake
) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 20)
    look(workspace, run, fake)
    for number in (3, 4):
        fake.batches[f"batch_{run.id}_{number}"]["request_counts"]["completed"] = 10 * number
    requests, statements = look(workspace, run, fake)
    assert requests == {"list": 1}
    assert (statements["BEGIN IMMEDIATE"], statements["UPDATE"]) == (1, 3 + 2 * 2)
    batches = run.ledger.batches()
    assert [batch.completed for batch in batches][:5] == [0, 0, 30, 40, 0]
    assert {batch.polls for batch in batches} == {22}


def test_batches_that_are_soon_due_are_looked_at_with_those_that_are(
    workspace: Workspace, run: Run, fake: OpenAIFake
) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 20)
    now = run.clock.now()
    for chunk in run.ledger.chunks()[1:]:
        run.ledger.postpone(chunk, now + timedelta(seconds=200 if chunk.number < 11 else 500), "a batch")
    advance(run, SilentReporter())
    assert Counter(batch.polls for batch in run.ledger.batches()) == {21: 10, 20: 10}
    assert fake.seen == {"list": 1}


@pytest.mark.parametrize("how", ["ended", "not shown", "another key", "asked to end", "in trouble"])
def test_a_batch_about_which_the_list_is_not_plain_is_asked_for_by_itself(
    workspace: Workspace, run: Run, fake: OpenAIFake, how: str
) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 20)
    odd, chunk = f"batch_{run.id}_5", run.ledger.chunk(5)
    batch = fake.batches[odd]
    match how:
        case "ended":
            batch |= {"status": "cancelled", "request_counts": {"total": 100, "completed": 0, "failed": 0}}
        case "not shown":
            fake.hidden = {odd}
        case "another key":
            batch["metadata"] = {"nightmail_key": "other/5/1"}
        case "asked to end":
            run.ledger.update_batch(chunk, cancel_asked_at=run.clock.now())
        case "in trouble":
            run.ledger.postpone_after_fault(chunk, run.clock.now(), "HTTP 500")
    with contextlib.suppress(NightmailError):  # of a batch that was never posted
        look(workspace, run, fake)
    assert [call.path for call in fake.calls if call.path.endswith(odd)] == [f"/v1/batches/{odd}"]
    assert fake.seen["list"] == 1
    assert fake.seen["retrieve"] == 1
    others = [each for each in run.ledger.batches() if each.chunk != 5]
    assert {each.polls for each in others} == {21}


def test_a_list_that_cannot_be_read_costs_one_request(
    workspace: Workspace, run: Run, fake: OpenAIFake
) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 20)
    fake.fault("list", "status:500")
    requests, _ = look(workspace, run, fake)
    assert requests == {"list": 1, "retrieve": 20}
    assert {chunk.faults for chunk in run.ledger.chunks()} == {0}


def test_pages_that_show_nothing_of_ours_are_not_read_on(
    workspace: Workspace, run: Run, fake: OpenAIFake
) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 20)
    for number in range(300):  # newer than ours
        fake.batches[f"other_{number}"] = batch_object(f"other_{number}", "other/1/1")
    requests, _ = look(workspace, run, fake)
    assert requests == {"list": 1, "retrieve": 20}


def test_few_batches_are_asked_for_one_by_one(workspace: Workspace, run: Run, fake: OpenAIFake) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 5)
    requests, _ = look(workspace, run, fake)
    assert requests == {"retrieve": 5}
    assert {chunk.state for chunk in run.ledger.chunks()} == {ChunkState.SUBMITTED}


def test_a_batch_of_which_a_webhook_tells_is_asked_for_by_itself_whatever_the_list_says(
    workspace: Workspace, run: Run, fake: OpenAIFake
) -> None:
    open_batches(run, workspace.home.ledger_url, fake, 20)
    look(workspace, run, fake)
    told = run.ledger.chunk(5)
    run.ledger.update_batch(told, provider="openai")
    fake.seen.clear()
    advance(run, SilentReporter())
    assert fake.seen == {}, "nothing is due"
    run.all_runs.look_now("openai", f"batch_{run.id}_5", "it says so")
    advance(run, SilentReporter())
    assert fake.seen == {"retrieve": 1}
    assert run.ledger.chunk(5).not_before is not None, "it still runs, and is looked at as ever"
