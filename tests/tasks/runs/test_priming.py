"""`prompt.cache` at Anthropic: what is written to the cache and read from it, and what that costs."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.progress import SilentReporter
from configs.providers.anthropic import AnthropicProvider
from fakes.anthropic_fake import AnthropicFake
from flows.cli.main import main
from rigs.interrupted import Stop, stopped_after_submitting
from rigs.ledger_files import put_back
from rigs.vendor_fakes import AnthropicWorkspace, anthropic_job
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.transactions import Transactions
from tasks.runs import lease
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import as_text

SYSTEM = "A long text of house rules. " * 500  # 3,500 tokens, and 4,096 is the model's minimum


@pytest.fixture
def letters(
    workspace: Workspace, anthropic_server: AnthropicFake, monkeypatch: pytest.MonkeyPatch
) -> AnthropicWorkspace:
    """40 rows in chunks of ten, with a long system text and the vendor's own prices."""
    monkeypatch.setattr(
        AnthropicProvider, "seller_for", lambda *_: "anthropic"
    )  # although the fake is elsewhere
    letters = anthropic_job(workspace, anthropic_server, monkeypatch)
    letters.source(40)
    letters.change("prompt.system", SYSTEM)
    letters.change("prompt.cache", "prime")
    letters.change("limits.max_requests", 10)
    return letters


def sizes(letters: AnthropicWorkspace) -> list[int]:
    return [len(batch) for batch in letters.fake.created]


# Of claude-haiku-4-5 in batches, a million tokens: $0.50, written for an hour $1.00, read $0.05, answers $2.50.
FRESH_USD = 40 * (12 * 0.5 + 9 * 2.5) / 1e6


@pytest.mark.parametrize(
    ("cache", "posted", "writes", "reads"),
    [("none", [10] * 4, 0, 0), ("mark", [10] * 4, 40, 0), ("prime", [1, 10, 10, 10, 9], 1, 39)],
)
def test_no_marks_cost_plain_input_cold_marks_twice_that_and_a_primed_cache_a_tenth(
    letters: AnthropicWorkspace, cache: str, posted: list[int], writes: int, reads: int
) -> None:
    letters.change("prompt.cache", cache)
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 40}
    assert sizes(letters) == posted
    size = len(SYSTEM)  # tokens are characters here
    assert receipt["cost_usd"] == pytest.approx(FRESH_USD + size * (writes * 1.0 + reads * 0.05) / 1e6)
    if cache == "none":
        assert receipt["cache"] is None
        return
    assert receipt["cache"] == {
        "written": writes * size,
        "read": reads * size,
        "write_usd": pytest.approx(writes * size * 0.5 / 1e6),
        "saved_usd": pytest.approx(reads * size * 0.45 / 1e6),
    }
    loss = f"warning: it cost ${40 * size * 0.5 / 1e6:,.4f} more than no cache"
    assert (loss in as_text(Receipt.model_validate(receipt))) is (cache == "mark")


def test_another_cache_mode_is_the_same_run(letters: AnthropicWorkspace) -> None:
    receipt = letters.run()
    letters.change("prompt.cache", "none")
    assert letters.run() == receipt


@pytest.mark.parametrize(("rows", "repeats"), [(19, 500), (40, 400)])
def test_few_rows_and_short_texts_go_as_one_batch_without_marks(
    letters: AnthropicWorkspace, rows: int, repeats: int
) -> None:
    letters.source(rows)
    letters.change("limits.max_requests", None)
    letters.change("prompt.system", "A long text of house rules. " * repeats)
    receipt = letters.run()
    assert sizes(letters) == [rows]
    assert receipt["cache"] is None


@pytest.mark.parametrize(
    ("cache", "system", "said"),
    [
        (
            "prime",
            "Be brief.",
            "all rows share about 3 tokens, and claude-haiku-4-5 caches from 4,096 on; nothing is marked",
        ),
        ("prime", SYSTEM, "prime: one row is posted before the others"),
        ("mark", SYSTEM, "mark: requests that run side by side each pay for writing the cache"),
    ],
)
def test_a_plan_says_what_becomes_of_the_cache(
    letters: AnthropicWorkspace, capsys: pytest.CaptureFixture[str], cache: str, system: str, said: str
) -> None:
    letters.change("prompt.system", system)
    letters.change("prompt.cache", cache)
    with pytest.raises(SystemExit):
        main(["plan", letters.write(), "--json"])
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert note.startswith(f"prompt.cache: {said}")


def test_the_others_wait_until_the_first_is_answered(letters: AnthropicWorkspace, fast_faults: None) -> None:
    letters.fake.script = {"t-0": ["transient", "succeeded"]}
    receipt = letters.run()
    assert sizes(letters) == [1, 1, 10, 10, 10, 9]
    assert receipt["cache"]["written"] == len(SYSTEM)


def test_where_the_first_writes_nothing_the_others_go_without_marks(letters: AnthropicWorkspace) -> None:
    letters.fake.script = {"t-0": "failed"}
    receipt = letters.run()
    assert letters.statuses() == {"failed": 1, "succeeded": 39}
    assert sizes(letters) == [1, 10, 10, 10, 9]
    assert receipt["cache"] is None
    assert any(event.kind == "prompt cache" for event in letters.ledger.history(letters.run_id))


def test_a_follow_up_reads_the_cache_while_it_is_filled(
    letters: AnthropicWorkspace, fast_faults: None
) -> None:
    letters.fake.script = {f"t-{n}": ["transient", "succeeded"] for n in (3, 4, 25)}
    receipt = letters.run()
    assert receipt["cache"]["written"] == len(SYSTEM)
    assert receipt["cache"]["read"] == 39 * len(SYSTEM)


@pytest.fixture
def cold(letters: AnthropicWorkspace, monkeypatch: pytest.MonkeyPatch) -> AnthropicWorkspace:
    """60 rows, of which the first has written the cache, when the process ends; two hours later."""
    letters.source(60)
    letters.change("limits.max_requests", 25)
    letters.change("retry.max_attempts", 1)  # going ahead is no attempt for the others
    used_at = RunLedger.cache_used_at

    def stopping(ledger: RunLedger) -> object:
        if used_at(ledger) is not None:
            raise Stop
        return None

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(RunLedger, "cache_used_at", stopping)
        letters.run()
    right = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: right(clock) + timedelta(hours=2))
    letters.fake.skew = timedelta(hours=2)
    return letters


def everything_was_asked_once_with_two_writes(letters: AnthropicWorkspace) -> None:
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 60}
    assert letters.column("id") == [f"t-{n}" for n in range(60)]
    assert sizes(letters) == [1, 1, 24, 25, 9]
    assert receipt["cache"]["written"] == 2 * len(SYSTEM)
    assert receipt["cache"]["read"] == 58 * len(SYSTEM)


def test_a_cache_that_has_run_out_is_filled_again_by_one_request(cold: AnthropicWorkspace) -> None:
    everything_was_asked_once_with_two_writes(cold)


def test_a_run_that_goes_on_without_a_cache_posts_no_marks(cold: AnthropicWorkspace) -> None:
    cold.change("prompt.cache", "none")
    receipt = cold.run()
    assert cold.statuses() == {"succeeded": 60}
    assert sorted(sizes(cold)) == [1, 9, 25, 25]
    assert receipt["cache"]["written"] == len(SYSTEM)


def test_a_process_that_ends_before_the_one_request_is_on_record_has_posted_nothing(
    cold: AnthropicWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    postpone = RunLedger.postpone

    def killed(ledger: RunLedger, *args: Any, **values: Any) -> Any:
        if "attempt" in values:
            raise Stop
        return postpone(ledger, *args, **values)

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(RunLedger, "postpone", killed)
        cold.run()
    everything_was_asked_once_with_two_writes(cold)


def test_a_ledger_from_before_the_one_request_went_ahead_finds_it(
    cold: AnthropicWorkspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with (
        closing(sqlite3.connect(home / "ledger.db")) as now,
        closing(sqlite3.connect(tmp_path / "b.db")) as copy,
    ):
        now.backup(copy)
    stopped_after_submitting(cold, monkeypatch)
    assert sizes(cold) == [1, 1]
    put_back(tmp_path / "b.db", home)
    everything_was_asked_once_with_two_writes(cold)


def test_rows_that_wait_behind_the_one_request_are_cancelled_with_the_run_and_asked_later(
    cold: AnthropicWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold.change("run.publish_cancelled", True)
    stopped_after_submitting(cold, monkeypatch)
    cancel_run(cold.home, os.environ, SystemClock(), "letters/k", SilentReporter())
    assert cold.statuses() == {"succeeded": 1, "cancelled": 59}
    assert cold.run()["rows"] == {"total": 60, "succeeded": 60}
    answered = [name for batch in cold.fake.created for name in batch]
    assert sorted(answered) == sorted([*(f"t-{n}" for n in range(60)), "t-1"]), (
        "its batch was cancelled, unanswered"
    )


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(2, marks=pytest.mark.soak),
        pytest.param(3, marks=pytest.mark.soak),
    ],
)
def test_a_primed_run_that_ends_after_any_ledger_write_posts_every_row_once(
    letters: AnthropicWorkspace, monkeypatch: pytest.MonkeyPatch, fast_faults: None, first: int
) -> None:
    """After every third write, from the first one on."""
    letters.source(25)
    write, left = Transactions.write, [0]

    @contextmanager
    def counted(transactions: Transactions) -> Iterator[Any]:
        with write(transactions) as connection:
            yield connection
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    monkeypatch.setattr(Transactions, "write", counted)
    monkeypatch.setattr(lease, "owner_is_dead", lambda _: True)  # this process stands for those that ended
    for point in range(first, 500, 3):
        before = len(letters.fake.created)
        letters.change("prompt.system", f"{point:03} {SYSTEM}")  # that no other run has written
        left[0] = point
        with suppress(Stop):
            letters.run(key=f"k{point}")
            break
        left[0] = 0
        receipt = letters.run(key=f"k{point}")
        assert sizes(letters)[before:] == [1, 10, 10, 4], point
        assert receipt["cache"]["written"] == len(SYSTEM) + len("001 "), point
    assert point > 20, "the run that was not stopped ended the loop"
