"""Whole jobs through Anthropic's Message Batches: the genuine SDK against the fake service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from configs.clock import SystemClock
from configs.errors import ConfigError, NightmailError, TerminalError, TransientError
from configs.home import Home
from configs.progress import SilentReporter
from fakes.anthropic_fake import AnthropicFake
from flows.cli.main import main
from rigs.vendor_fakes import AnthropicWorkspace, anthropic_job, poor_answers_asked_again
from rigs.workspace import Workspace
from tasks.cancel import cancel_run


@pytest.fixture
def letters(
    workspace: Workspace, anthropic_server: AnthropicFake, monkeypatch: pytest.MonkeyPatch
) -> AnthropicWorkspace:
    """The working folder, with Anthropic as its provider."""
    return anthropic_job(workspace, anthropic_server, monkeypatch)


def ids(*numbers: int) -> tuple[str, ...]:
    return tuple(f"t-{n}" for n in numbers)


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 120
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_a_job_written_for_openai_runs_on_anthropic(letters: AnthropicWorkspace) -> None:
    letters.change("prompt.system", "Be brief.")
    letters.change("prompt.params", {"max_completion_tokens": 200, "stop": "###", "user": "{{ id }}"})
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.column("llm_answer") == [f"echo: Say word {n}" for n in range(10)]
    assert receipt["batches"] == {"posted": 1, "follow_ups": 0}
    assert receipt["tokens"] == {"input": 120, "output": 90, "cached": 0, "reasoning": 0}
    assert letters.fake.created == [ids(*range(10))]
    assert letters.fake.batches == {}, "the results are here, so the batch is deleted there"


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses"])
def test_a_schema_becomes_structured_output_and_typed_columns(
    letters: AnthropicWorkspace, endpoint: str
) -> None:
    letters.change("prompt.endpoint", endpoint)
    fields = {
        "label": {"type": "string", "enum": ["bug", "other"]},
        "stars": {"type": ["integer", "null"], "minimum": 1},
    }
    letters.change("prompt.schema", {"type": "object", "properties": fields, "required": ["label", "stars"]})
    letters.run()
    assert letters.statuses().keys() <= {"succeeded", "invalid"}, "the service took the schema"
    assert {row["label"] for row in letters.column("llm_parsed") if row} <= {"bug", "other"}


@pytest.mark.parametrize(
    ("script", "statuses", "paid"),
    [
        ({"t-3": "refused"}, {"succeeded": 9, "refused": 1}, [10]),
        ({"t-3": "truncated"}, {"succeeded": 9, "truncated": 1}, [10]),
        ({"t-3": "failed"}, {"succeeded": 9, "failed": 1}, [10]),
        ({"t-3": ["transient", "succeeded"]}, {"succeeded": 10}, [10, 1]),
        ({"t-3": ["overloaded", "succeeded"]}, {"succeeded": 10}, [10, 1]),
        ({"t-3": "transient"}, {"succeeded": 9, "failed": 1}, [10, 1, 1]),
        ({"t-3": ["expired", "succeeded"]}, {"succeeded": 10}, [10, 1]),
        ({"t-3": ["canceled", "succeeded"]}, {"succeeded": 10}, [10, 1]),
        ({"t-3": "doubled"}, {"succeeded": 10}, [10]),
        ({"t-3": ["garbled", "succeeded"]}, {"succeeded": 9, "failed": 1}, [10]),
        ({"t-3": "tool"}, {"succeeded": 10}, [10]),
        ({"*": "failed"}, {"failed": 10}, [10]),
    ],
)
def test_what_rows_come_to(
    letters: AnthropicWorkspace,
    fast_faults: None,
    script: dict[str, Any],
    statuses: dict[str, int],
    paid: list[int],
) -> None:
    letters.fake.script = script
    letters.run()
    assert letters.statuses() == statuses
    assert [len(batch) for batch in letters.fake.created] == paid
    assert letters.column("id") == list(ids(*range(10)))


def test_what_an_expired_batch_answered_is_kept(letters: AnthropicWorkspace) -> None:
    letters.fake.script = {name: ["expired", "succeeded"] for name in ids(0, 5)}
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10)), ids(0, 5)]
    assert [batch.status for batch in letters.batches()] == ["expired", "completed"]
    assert receipt["tokens"]["input"] == 120


@pytest.mark.parametrize("api_version", [None, "2023-06-01"])
def test_sampling_is_refused_before_anything_is_posted_unless_the_version_has_it(
    letters: AnthropicWorkspace, api_version: str | None
) -> None:
    letters.change("prompt.params", {"temperature": 0})
    letters.change("provider.api_version", api_version)
    if api_version:
        letters.run()
        assert letters.statuses() == {"succeeded": 10}
    else:
        with pytest.raises(ConfigError, match=r"prompt\.params\.temperature"):
            letters.run()
        assert letters.fake.calls == []


@pytest.mark.parametrize(("rows", "long", "rate"), [(3_000, False, 0.05), (3, True, 0.25)])
def test_a_plan_prices_prompts_by_their_own_length_and_not_by_that_of_all(
    letters: AnthropicWorkspace, capsys: pytest.CaptureFixture[str], rows: int, long: bool, rate: float
) -> None:
    del letters.tree["provider"]["base_url"]
    letters.source(rows, text=["word " * (200_000 if long else 40)] * rows)
    letters.change("prompt.model", "claude-haiku-5-5")  # dearer above 100,000 tokens
    with pytest.raises(SystemExit):
        main(["plan", letters.write(), "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert plan["prompt_tokens"] > 100_000
    assert plan["prompt_cost_usd"] == pytest.approx(plan["prompt_tokens"] * rate / 1e6)


@pytest.mark.parametrize("op", ["create", "retrieve", "content", "delete"])
@pytest.mark.parametrize("action", ["drop_reply", "status:529", "status:429"])
def test_a_broken_call_costs_time_and_nothing_else(
    letters: AnthropicWorkspace, fast_faults: None, op: str, action: str
) -> None:
    letters.fake.fault(op, action, times=1)
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]


def test_a_transfer_that_is_cut_is_fetched_again(letters: AnthropicWorkspace, fast_faults: None) -> None:
    letters.fake.fault("content", "close_midway")
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]


def test_lost_replies_of_chunks_of_the_same_size_are_told_apart_by_their_results(
    letters: AnthropicWorkspace, fast_faults: None
) -> None:
    letters.source(40)
    letters.change("limits.max_requests", 10)
    letters.fake.fault("create", "drop_reply", times=4)
    letters.run()
    assert letters.statuses() == {"succeeded": 40}
    assert sorted(letters.fake.created) == sorted(ids(*range(at, at + 10)) for at in range(0, 40, 10))
    assert letters.column("llm_answer") == [f"echo: Say word {n}" for n in range(40)]


def test_somebody_elses_batch_of_the_same_size_is_not_ours(
    letters: AnthropicWorkspace, fast_faults: None
) -> None:
    foreign = letters.fake.add([f"theirs-{n}" for n in range(10)])
    letters.fake.fault("create", "drop_reply")
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]
    assert list(letters.fake.batches) == [foreign], "nor is it deleted"


def test_a_foreign_batch_that_was_taken_for_ours_is_given_back_and_our_rows_are_asked(
    letters: AnthropicWorkspace, fast_faults: None
) -> None:
    """Our batch was never made, and one of the same size is under way: nothing tells them apart until its end."""
    letters.fake.hold = True
    foreign = letters.fake.add([f"theirs-{n}" for n in range(10)])
    letters.fake.fault("create", "status:500")
    runner = threading.Thread(target=letters.run)
    runner.start()
    wait_for(lambda: letters.fake.seen["retrieve"])
    assert letters.fake.created == []
    letters.fake.hold = False
    runner.join(120)
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]
    assert list(letters.fake.batches) == [foreign], "it is not deleted"
    first, second = letters.batches()
    assert (first.batch_id, first.error_code, second.posting) == (None, "not_ours", 2)
    assert letters.column("llm_attempts") == [1] * 10


def test_while_it_cannot_be_told_which_batch_is_ours_nothing_is_posted(
    letters: AnthropicWorkspace, fast_faults: None
) -> None:
    letters.fake.hold = True
    foreign = letters.fake.add([f"theirs-{n}" for n in range(10)])
    letters.fake.fault("create", "drop_reply")
    runner = threading.Thread(target=letters.run)
    runner.start()
    wait_for(lambda: letters.fake.seen["list"] > 2)
    assert letters.fake.created == [ids(*range(10))]
    letters.fake.held, letters.fake.hold = {foreign}, False
    wait_for(lambda: letters.fake.seen["content"])
    assert letters.fake.created == [ids(*range(10))]
    letters.fake.held = set()
    runner.join(120)
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]


def test_two_batches_with_our_very_rows_need_a_person(letters: AnthropicWorkspace, fast_faults: None) -> None:
    twin = letters.fake.add(ids(*range(10)))
    letters.fake.fault("create", "drop_reply")
    with pytest.raises(TerminalError, match=f"2 batches answer these very rows .*{twin}.*console") as caught:
        letters.run()
    assert "\n" not in str(caught.value)
    with pytest.raises(TerminalError):  # and goes on saying so
        letters.run()
    del letters.fake.batches[twin]
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]


@pytest.mark.slow  # a process that imports everything
def test_a_run_killed_between_the_batch_and_its_record_adopts_it(letters: AnthropicWorkspace) -> None:
    job = letters.write()
    letters.fake.hold = True
    ready, go = os.pipe()
    script = f"import os; from flows.enrich import enrich; os.read({ready}, 1); enrich.fn({job!r}, key='k')"
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=letters.folder, pass_fds=[ready], stderr=subprocess.DEVNULL
    )
    letters.fake.kill_at_create = child.pid
    os.write(go, b"x")
    assert child.wait(120) == -9
    for end in (ready, go):
        os.close(end)
    assert letters.fake.created == [ids(*range(10))]
    letters.fake.hold = False
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]


def test_a_batch_refused_at_creation_names_the_row(letters: AnthropicWorkspace) -> None:
    text = "requests.3.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
    letters.fake.fault("create", "status:400", text=text)
    with pytest.raises(TerminalError, match=r"requests\.3\.custom_id: String .* \(custom_id t-3\)"):
        letters.run()
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10))]


def test_results_that_anthropic_has_thrown_away_are_an_error_and_not_posted_again(
    letters: AnthropicWorkspace,
) -> None:
    letters.fake.hold = True

    def run() -> None:
        with pytest.raises(TerminalError, match=r"results are gone .* 29 days"):
            letters.run()

    runner = threading.Thread(target=run)
    runner.start()
    (batch_id,) = wait_for(lambda: letters.fake.seen["retrieve"] and list(letters.fake.batches))
    letters.fake.end(batch_id)
    letters.fake.archive(batch_id)
    runner.join(120)
    assert letters.fake.created == [ids(*range(10))]
    wait_for(lambda: letters.batches()[0].intended_at < datetime.now(UTC) - timedelta(seconds=2))
    receipt = letters.run(overrides=["run.give_up_after=1s"])  # what the error told to do
    assert receipt["rows"] == {"total": 10, "failed": 10}
    assert set(letters.column("llm_error_code")) == {"results_gone"}
    assert letters.fake.created == [ids(*range(10))]


def stopped_while_posted(letters: AnthropicWorkspace) -> str:
    """Start a run, and cancel it once its batch is at the provider; the batch."""
    letters.fake.hold = True

    def run() -> None:
        with pytest.raises(NightmailError):
            letters.run()

    runner = threading.Thread(target=run)
    runner.start()
    wait_for(lambda: letters.fake.seen["retrieve"])
    home = Home.from_environment(os.environ)
    said = cancel_run(home, os.environ, SystemClock(), "letters/k", SilentReporter())
    runner.join(120)
    (batch_id,) = letters.fake.batches
    assert f"{batch_id} is being cancelled" in said[0]
    assert letters.fake.batches[batch_id]["processing_status"] == "canceling"
    return str(batch_id)


def test_a_cancelled_run_goes_on_with_what_its_batch_answered(letters: AnthropicWorkspace) -> None:
    stopped_while_posted(letters)
    letters.fake.hold = False
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.created == [ids(*range(10)), ids(*range(10))]


def test_a_batch_that_cannot_be_told_does_not_keep_the_others_from_being_cancelled(
    letters: AnthropicWorkspace, fast_faults: None
) -> None:
    letters.change("limits.max_requests", 5)
    letters.fake.hold = True
    twin = letters.fake.add(ids(*range(5)))
    letters.fake.fault("create", "drop_reply")

    def run() -> None:
        with pytest.raises(TerminalError, match="very rows"):
            letters.run()

    runner = threading.Thread(target=run)
    runner.start()
    wait_for(lambda: len(letters.fake.created) == 2 and letters.fake.seen["retrieve"])
    _, ours, second = letters.fake.batches
    for batch_id in (twin, ours):
        letters.fake.end(batch_id)
    runner.join(120)
    home = Home.from_environment(os.environ)
    with pytest.raises(TransientError, match=r"very rows .* 1 batches may still cost money"):
        cancel_run(home, os.environ, SystemClock(), "letters/k", SilentReporter())
    assert letters.fake.batches[second]["processing_status"] == "canceling"
    letters.fake.hold = False
    del letters.fake.batches[twin]
    assert cancel_run(home, os.environ, SystemClock(), "letters/k", SilentReporter())
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert sorted(map(len, letters.fake.created)) == [5, 5, 5], "the cancelled five were asked again"


def test_clean_knows_batches_by_the_ledger_since_they_carry_no_key(
    letters: AnthropicWorkspace, capsys: pytest.CaptureFixture[str]
) -> None:
    letters.fake.fault("delete", "status:500", times=9)
    letters.run()
    letters.fake.forgive()
    (left,) = letters.fake.batches
    foreign = letters.fake.add(["theirs"])
    for words, there in (([], {left, foreign}), (["--yes"], {foreign})):
        with pytest.raises(SystemExit) as ended:
            main(["clean", *words])
        assert ended.value.code == 0
        assert left in capsys.readouterr().out
        assert set(letters.fake.batches) == there


def test_poor_answers_are_asked_again_by_choice_and_what_the_account_could_not_pay_for_after_a_pause(
    letters: AnthropicWorkspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = poor_answers_asked_again(letters, monkeypatch)
    assert [message["role"] for message in told["params"]["messages"]] == ["user", "assistant", "user"]
    assert told["params"]["messages"][1]["content"] == "Sure: it is fine."
