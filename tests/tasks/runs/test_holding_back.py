"""Chunks that may not be posted now: they wait for room, or a budget does with the run what the job says."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.errors import ConfigError, TerminalError
from configs.progress import SilentReporter
from flows.cli.main import main
from flows.enrich import enrich
from rigs.interrupted import Stop
from rigs.workspace import Workspace, everything_once
from tasks import advance
from tasks.cancel import cancel_run
from tasks.ledger.records import BatchRecord
from tasks.providers.openai.compatible import OpenAICompatible
from tasks.runs import budgets, prices
from tasks.runs.holding_back import stated_limit
from tasks.runs.queries import describe_run


@pytest.mark.parametrize(
    ("refusal", "limit"),
    [
        (
            "Enqueued token limit reached for gpt-4o in organization org-1. Limit: 2,000,000 enqueued tokens. Please",
            2_000_000,
        ),
        ("Limit: 90000 tokens", 90_000),
        ("limit 1_000 enqueued tokens", 1_000),
        ("The limit of 30 requests is reached; 5 tokens", None),
        ("Resource has been exhausted (e.g. check quota).", None),
        ("", None),
    ],
)
def test_a_refusal_names_its_limit_or_none(refusal: str, limit: int | None) -> None:
    assert stated_limit(refusal) == limit


@pytest.fixture
def priced(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Two chunks of five rows, each of which reserves $1: five answers of at most ten tokens at two cents."""
    monkeypatch.setattr(
        prices, "load_prices", lambda: {"prices": [{"model": "m", "input": 0, "output": 20_000}]}
    )
    workspace.change("limits.max_requests", 5)
    workspace.change("prompt.params", {"max_completion_tokens": 10})
    return workspace


def spans(batches: Any) -> list[tuple[datetime, datetime]]:
    return sorted(
        (batch.intended_at, batch.ended_at or datetime.max.replace(tzinfo=UTC)) for batch in batches
    )


def one_after_the_other(batches: Any) -> bool:
    ordered = spans(batches)
    return all(before[1] <= after[0] for before, after in itertools.pairwise(ordered))


def test_a_full_queue_holds_the_next_batch_back_until_the_one_before_has_ended(workspace: Workspace) -> None:
    workspace.change("limits", {"max_requests": 5, "max_enqueued_tokens": 1})
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    everything_once(workspace)
    assert one_after_the_other(workspace.batches())


def test_a_refused_batch_waits_for_the_others_and_no_second_one_is_refused(
    workspace: Workspace, fast_faults: None
) -> None:
    workspace.change("limits.max_requests", 5)
    workspace.faults("fail:token_limit_exceeded:1")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    everything_once(workspace)
    assert sum(batch.error_code is not None for batch in workspace.batches()) == 1


def test_a_budget_makes_batches_wait_and_what_they_cost_takes_the_place_of_what_they_might(
    priced: Workspace,
) -> None:
    priced.change("budget", {"day_usd": 1.9})
    receipt = priced.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert receipt["cost_usd"] <= 1.9
    planned, seen = priced.run(key="other", dry_run=True), describe_run(priced.home, "letters/k")
    for states in (receipt["budgets"], planned["budgets"], seen["budgets"]):
        assert [(state["name"], state["spent"]) for state in states] == [
            ("budget.day_usd", pytest.approx(receipt["cost_usd"]))
        ]
    assert one_after_the_other(priced.batches())
    assert [batch.reserved_usd for batch in priced.batches()] == [pytest.approx(1.0)] * 2
    assert [batch.provider for batch in priced.batches()] == ["openai"] * 2


def test_a_run_stops_at_its_budget_when_what_was_posted_is_collected_and_goes_on_with_a_higher_one(
    priced: Workspace,
) -> None:
    priced.change("budget", {"run_usd": 1.0, "on_reach": "stop"})
    with pytest.raises(
        TerminalError, match=r"budget\.run_usd is reached: \$0.* of \$1.00 are spent"
    ) as error:
        priced.run()
    assert error.value.code == "budget_reached"
    (batch,) = priced.batches()
    assert batch.cost_usd is not None, "collected and booked"
    assert not (priced.folder / "out").exists()
    priced.change("budget.run_usd", 9.0)
    assert priced.run()["rows"] == {"total": 10, "succeeded": 10}
    everything_once(priced)


def test_a_run_publishes_at_its_budget_and_a_retry_asks_what_was_not_posted(priced: Workspace) -> None:
    priced.change("budget", {"run_usd": 1.0, "on_reach": "publish"})
    assert priced.run()["rows"] == {"total": 10, "succeeded": 5, "cancelled": 5}
    assert "budget.run_usd is reached" in priced.column("llm_error_message")[-1]
    assert priced.paid() == {"1/1": 1}
    priced.change("budget.run_usd", 9.0)
    assert priced.run(retry=True)["rows"] == {"total": 10, "succeeded": 10}
    everything_once(priced)


def test_follow_up_attempts_count_against_the_budget(priced: Workspace) -> None:
    priced.source(5)
    priced.change("retry", {"on": ["truncated"], "max_attempts": 2})
    priced.faults("length:t-0|t-1|t-2|t-3|t-4*1")
    priced.change("budget", {"run_usd": 1.0, "on_reach": "publish"})
    assert priced.run()["rows"] == {"total": 5, "truncated": 5}, "they keep what they had"
    assert priced.paid() == {"1/1": 1}


@pytest.fixture
def learned(priced: Workspace) -> Workspace:
    """A job without a limit of its answers, and with twenty answers of an earlier night, none of which was long."""
    priced.change("prompt.params", {})
    priced.change("limits.max_requests", 20)
    priced.source(20)
    priced.run(key="earlier")
    priced.change("limits.max_requests", 5)
    return priced


def test_a_job_without_a_limit_of_its_answers_reserves_what_earlier_ones_took(
    learned: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    learned.change("budget", {"run_usd": 9.0})
    (earlier,) = learned.batches_of("earlier")
    assert earlier.output_p95
    planned = learned.run(dry_run=True)["estimate"]
    assert planned["answer_p95"] == earlier.output_p95
    assert planned["reserved_usd"] == pytest.approx(20 * earlier.output_p95 * 0.02)
    assert learned.run()["rows"] == {"total": 20, "succeeded": 20}
    assert [batch.reserved_usd for batch in learned.batches()] == [
        pytest.approx(5 * earlier.output_p95 * 0.02)
    ] * 4
    with pytest.raises(SystemExit):
        main(["status", "letters/k"])
    assert f"answers of {earlier.output_p95} tokens, to which 95 of 100" in capsys.readouterr().out


def test_a_job_without_a_limit_of_its_answers_and_without_earlier_ones_has_no_budget(
    priced: Workspace,
) -> None:
    priced.change("prompt.params", {})
    priced.source(19)
    priced.run(key="earlier")
    priced.change("budget", {"run_usd": 9.0})
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=r"budget\.run_usd: how long an answer may be is unknown"):
            priced.run(dry_run=dry_run)
    assert priced.ledger.latest_run("letters", "k") is None


def test_answers_longer_than_earlier_ones_go_beyond_a_budget_by_their_own_chunk_alone(
    learned: Workspace,
) -> None:
    (earlier,) = learned.batches_of("earlier")
    reserved = 5 * (earlier.output_p95 or 0) * 0.02
    learned.source(10, text=["so many words that nobody has seen before " * 3] * 10)
    learned.change("budget", {"run_usd": reserved * 1.5, "on_reach": "publish"})
    receipt = learned.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 5, "cancelled": 5}
    (batch,) = learned.batches()
    assert batch.reserved_usd == pytest.approx(reserved)
    assert receipt["cost_usd"] == pytest.approx(batch.cost_usd)
    assert receipt["cost_usd"] > reserved * 1.5


def test_rows_that_are_asked_again_reserve_by_the_limit_of_their_answers(learned: Workspace) -> None:
    learned.change("prompt.params", {"max_completion_tokens": 1_000})
    learned.change("limits.max_requests", 20)
    learned.run(key="same")
    learned.change("budget", {"run_usd": 999.0})
    learned.change("retry", {"on": ["truncated"], "max_attempts": 2})
    learned.faults("length:t-0|t-1*1")
    learned.run()
    first, again = learned.batches()
    assert first.reserved_usd is not None
    assert first.reserved_usd < 20 * 1_000 * 0.02
    assert again.reserved_usd == pytest.approx(2 * 1_000 * 0.02)


def kill_at(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Stop

    monkeypatch.setattr(OpenAICompatible, call, die)


def batch_of(workspace: Workspace, key: str) -> BatchRecord:
    return workspace.batches_of(key)[0]


@pytest.mark.parametrize("call", ["upload", "create"])
def test_a_run_killed_between_intent_and_batch_keeps_its_reservation_from_others(
    priced: Workspace, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    priced.source(5)
    priced.change("budget", {"day_usd": 1.9, "on_reach": "stop"})
    with monkeypatch.context() as patched, pytest.raises(Stop):
        kill_at(patched, call)
        priced.run(key="k1")
    assert (batch_of(priced, "k1").reserved_usd, batch_of(priced, "k1").batch_id) == (
        pytest.approx(1.0),
        None,
    )
    with pytest.raises(TerminalError, match=r"budget\.day_usd is reached"):
        priced.run(key="k2")
    assert priced.batches_of("k2") == ()
    assert priced.run(key="k1")["rows"] == {"total": 5, "succeeded": 5}
    assert priced.run(key="k2")["rows"] == {"total": 5, "succeeded": 5}
    assert len(priced.batches_of("k1")) == len(priced.batches_of("k2")) == 1


def test_caps_hold_while_the_service_loses_replies(priced: Workspace, fast_faults: None) -> None:
    priced.source(20)
    priced.change("budget", {"day_usd": 3.7})
    priced.service.fault("create", "drop_reply", times=3)
    priced.service.fault("upload", "drop_reply", times=2)
    receipt = priced.run()
    priced.service.forgive()
    assert receipt["rows"] == {"total": 20, "succeeded": 20}
    everything_once(priced, 20)
    open_at = [
        sum(begin <= moment < end for begin, end in spans(priced.batches()))
        for moment, _ in spans(priced.batches())
    ]
    assert max(open_at) <= 3


def test_an_unknown_price_is_an_error_before_anything_is_written(workspace: Workspace) -> None:
    workspace.change("budget", {"run_usd": 1.0})
    for options in ({}, {"dry_run": True}):
        with pytest.raises(ConfigError, match=r"price of m at openai is unknown.*configs/prices.yaml"):
            workspace.run(**options)
    assert not (workspace.folder / "home").exists()


def test_a_cancelled_runs_batch_takes_room_until_it_is_seen_to_have_ended(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.change("limits.max_enqueued_tokens", 1)
    workspace.faults("stuck:in_progress")
    with monkeypatch.context() as patched, pytest.raises(Stop):

        def die(*_: Any) -> None:
            raise Stop

        patched.setitem(advance._STEPS, advance.Step.POLL, die)
        workspace.run(key="k1")
    cancel_run(workspace.home, os.environ, SystemClock(), "letters/k1", SilentReporter())
    workspace.tree["provider"].pop("metadata")
    assert workspace.run(key="k2")["rows"] == {"total": 10, "succeeded": 10}
    (cancelled,) = workspace.batches_of("k1")
    assert cancelled.ended_at is None
    assert cancelled.left_queue_at is not None
    assert cancelled.left_queue_at <= batch_of(workspace, "k2").intended_at


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_ten_runs_at_once_go_through_room_for_three_batches_and_none_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, database: str
) -> None:
    if database == "postgresql":
        url = request.getfixturevalue("postgres_url")()
        monkeypatch.setenv("NIGHTMAIL_LEDGER_URL", url)
        workspace.home = replace(workspace.home, ledger_url=url)
    workspace.source(9)
    workspace.change("limits.max_requests", 3)
    workspace.run(key="k0")
    size = max(batch.tokens_estimate for batch in workspace.batches_of("k0"))
    workspace.change("limits.max_enqueued_tokens", 3 * size)
    job, keys = workspace.write(), [f"k{number}" for number in range(1, 11)]

    def run(key: str) -> dict[str, Any]:
        receipt: Any = enrich.fn(job, key=key, overrides=[f"output.path={workspace.folder / key}"])
        return receipt.rows.by_status

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(run, keys)) == [{"succeeded": 9}] * 10
    batches = [batch for key in keys for batch in workspace.batches_of(key)]
    assert len(batches) == 30
    assert not [batch for batch in batches if batch.error_code]
    moments = [batch.intended_at for batch in batches]
    assert max(sum(b <= at < e for b, e in spans(batches)) for at in moments) <= 3


def test_a_budgets_file_that_breaks_under_a_run_keeps_nothing_posted_from_being_collected(
    priced: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    priced.source(5)
    with monkeypatch.context() as patched, pytest.raises(Stop):

        def die(*_: Any) -> None:
            raise Stop

        patched.setitem(advance._STEPS, advance.Step.POLL, die)
        priced.run()

    def broken() -> None:
        raise ConfigError("configs/budgets.yaml: budgets.0.windw: unknown key")

    monkeypatch.setattr(budgets, "load_budgets", broken)
    assert priced.run()["rows"] == {"total": 5, "succeeded": 5}
    with pytest.raises(ConfigError, match="windw"):
        priced.run(key="k2")


@pytest.mark.parametrize("op", ["upload", "create"])
def test_a_posting_that_is_refused_for_good_reserves_nothing_and_is_admitted_anew(
    priced: Workspace, monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    priced.source(5)
    priced.change("budget", {"day_usd": 1.1, "on_reach": "stop"})
    priced.service.fault(op, "status:400")
    with pytest.raises(TerminalError, match="HTTP 400"):
        priced.run(key="k1")
    assert priced.run(key="k2")["rows"] == {"total": 5, "succeeded": 5}
    with pytest.raises(TerminalError, match=r"budget\.day_usd is reached"):
        priced.run(key="k1")
    assert batch_of(priced, "k1").batch_id is None
    tomorrow = datetime.now(UTC)
    monkeypatch.setattr(budgets, "window_start", lambda *_: tomorrow)
    assert priced.run(key="k1")["rows"] == {"total": 5, "succeeded": 5}
    (batch,) = priced.batches_of("k1")
    assert batch.intended_at > tomorrow
    assert batch.cost_usd is not None


def test_a_refused_posting_that_finds_no_room_again_is_published_as_cancelled(priced: Workspace) -> None:
    priced.source(5)
    priced.change("budget", {"day_usd": 1.1, "on_reach": "publish"})
    priced.service.fault("create", "status:400")
    with pytest.raises(TerminalError, match="HTTP 400"):
        priced.run()
    priced.run(key="k2", overrides=["output.path=out/other"])
    assert priced.run()["rows"] == {"total": 5, "cancelled": 5}


@pytest.mark.parametrize("how", ["killed", "refused for billing"])
def test_a_cancelled_run_reserves_nothing_for_what_was_never_posted_and_goes_on_later(
    priced: Workspace, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    priced.source(5)
    priced.change("budget", {"day_usd": 1.9, "on_reach": "stop"})
    with monkeypatch.context() as patched, pytest.raises(Stop):
        if how == "killed":
            kill_at(patched, "upload")
        else:
            priced.service.fault("create", "unpaid:billing_hard_limit_reached")
            patched.setattr("tasks.enrich.sleep_until", stop)
        priced.run(key="k1")
    lines = cancel_run(priced.home, os.environ, SystemClock(), "letters/k1", SilentReporter())
    assert lines[0] == "chunk 1: nothing was posted"
    assert priced.run(key="k2")["rows"] == {"total": 5, "succeeded": 5}
    assert priced.run(key="k1")["rows"] == {"total": 5, "succeeded": 5}


def stop(*_: Any, **__: Any) -> None:
    raise Stop


def test_answers_are_published_only_when_what_is_on_its_way_has_left_no_room_for_more(
    priced: Workspace,
) -> None:
    priced.change("budget", {"run_usd": 1.95, "on_reach": "publish"})
    receipt = priced.run()
    assert receipt["cost_usd"] == pytest.approx(1.2)
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    everything_once(priced)


def test_a_batch_reserves_its_prompts_as_high_as_the_estimate_may_be_off(priced: Workspace) -> None:
    priced.source(5)
    priced.run()
    (batch,) = priced.batches()  # nobody knows the tokenizer of m
    assert batch.reserved_tokens == round(1.4 * batch.tokens_estimate) + 5 * 10


def test_a_budget_that_pictures_make_useless_is_an_error_before_anything_is_posted(priced: Workspace) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a.example/{{ id }}.png"}}
    priced.change("prompt.user", [{"type": "text", "text": "What is it?"}, picture])
    priced.change("budget", {"run_usd": 9.0})
    for options in ({"dry_run": True}, {}):
        with pytest.raises(ConfigError, match=r"budget\.run_usd: how many tokens pictures are to m"):
            priced.run(**options)
    assert priced.ledger.latest_run("letters", "k") is None
