"""After a job's deadline: batches are ended, what they answered is kept, and the rest is asked by real-time calls."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from configs.errors import ConfigError, TerminalError
from configs.progress import SilentReporter
from rigs.clock import JumpingClock
from rigs.interrupted import Stop
from rigs.real_time import RealTime, stop_services
from rigs.workspace import Workspace
from tasks.cancel import cancel_run
from tasks.providers.base import ServiceBatch
from tasks.providers.openai.compatible import OpenAICompatible
from tasks.runs import prices
from tasks.stages.report.plan import Plan
from tasks.stages.report.plan_text import plan_as_text

Job = Callable[..., Workspace]
PER_CALL = 9 * 5e-6 + 4 * 6e-6  # at the prices of `stated`, by the tokens that `RealTime` says
ROWS = 12


class Looking(JumpingClock):
    """Nine hours pass when it is due; whenever the run goes to sleep it calls `look`."""

    def __init__(self, due: Callable[[], bool], look: Callable[[], object]) -> None:
        super().__init__(due, timedelta(hours=9))
        self._look = look

    def sleep(self, seconds: float) -> None:
        self._look()
        super().sleep(seconds)


@pytest.fixture
def letters(
    workspace: Workspace, real_time: RealTime, monkeypatch: pytest.MonkeyPatch, fast_faults: None
) -> Job:
    """A job of three chunks whose batches answer half of their rows; the deadline passes when they have."""
    stated = [
        {"model": "m", "input": 2.0, "output": 3.0},
        {"model": "m", "lane": "standard", "input": 5.0, "output": 6.0},
        {"model": "m", "lane": "flex", "input": 5.0, "output": 6.0},
    ]
    monkeypatch.setattr(prices, "load_prices", lambda: {"prices": stated})
    workspace.source(ROWS)
    workspace.change("provider.base_url", real_time.url)
    workspace.change("limits.max_requests", 4)
    workspace.faults("hold_after:0.5")

    def job(look: Callable[[], object] = lambda: None, **deadline: Any) -> Workspace:
        def due() -> bool:
            run = workspace.ledger.latest_run("letters", "k")
            posted = workspace.batches() if run else ()
            return len(posted) == 3 and all(
                (batch.completed or 0) + (batch.failed or 0) == 2 for batch in posted
            )

        clock = Looking(due, look)
        monkeypatch.setattr("tasks.enrich.SystemClock", lambda: clock)
        workspace.change("deadline", {"after": "8h", **deadline})
        return workspace

    return job


def lanes(workspace: Workspace) -> Counter[str | None]:
    return Counter(workspace.column("llm_lane"))


def test_the_rest_is_asked_at_once_and_every_figure_adds_up(letters: Job, real_time: RealTime) -> None:
    workspace = letters(max_rows=ROWS)
    receipt = workspace.run()
    assert workspace.column("id") == [f"t-{n}" for n in range(ROWS)]
    assert workspace.statuses() == {"succeeded": ROWS}
    assert set(real_time.asked.values()) == {1}
    assert real_time.keys == {"Bearer sk-secret"}
    in_lane = ROWS // 2
    assert len(real_time.bodies) == in_lane
    assert lanes(workspace) == {"standard": in_lane, None: ROWS - in_lane}
    of_rows = zip(workspace.column("llm_lane"), workspace.column("llm_answer"), strict=True)
    assert all((lane == "standard") == answer.startswith("At once: ") for lane, answer in of_rows)
    usd = {
        lane: sum(
            cost
            for each, cost in zip(workspace.column("llm_lane"), workspace.column("llm_cost_usd"), strict=True)
            if each == lane
        )
        for lane in ("standard", None)
    }
    batches = workspace.batches()
    assert usd["standard"] == pytest.approx(in_lane * PER_CALL)
    assert sum(batch.cost_usd or 0 for batch in batches if batch.lane) == pytest.approx(usd["standard"])
    assert sum(batch.cost_usd or 0 for batch in batches if not batch.lane) == pytest.approx(usd[None])
    assert receipt["cost_usd"] == pytest.approx(usd["standard"] + usd[None])
    assert workspace.files_left() == []


@pytest.mark.parametrize("lane", ["standard", "flex"])
def test_a_call_says_its_service_tier_for_flex_alone(letters: Job, real_time: RealTime, lane: str) -> None:
    workspace = letters(max_rows=ROWS, lane=lane)
    workspace.run()
    assert {body.get("service_tier") for body in real_time.bodies} == {"flex" if lane == "flex" else None}
    assert set(lanes(workspace)) == {lane, None}


@pytest.mark.parametrize("caps", [{"max_rows": 3}, {"max_usd": 0.0008}])
def test_what_the_caps_do_not_carry_stays_in_its_batch(
    letters: Job,
    workspace: Workspace,
    real_time: RealTime,
    caps: dict[str, Any],
) -> None:
    """Two rows and $0.0007 are reserved for a chunk; what it costs in the end leaves no room for another."""
    workspace.change("prompt.params", {"max_completion_tokens": 50})
    workspace.faults("hold_after:0.5*3")
    held: list[list[str]] = []

    def release() -> None:
        """When the lane is done: end the batches of those that stayed, as the provider might."""
        done = [batch for batch in workspace.batches() if batch.lane and batch.cost_usd]
        if done and not held:
            held.append([b.batch_id or "" for b in workspace.batches() if b.status == "running"])
            for batch_id in held[0]:
                real_time.batches.client().batches.cancel(batch_id)

    letters(release, **caps).run()
    assert workspace.statuses() == {"succeeded": ROWS}
    assert len(held[0]) == 2
    assert lanes(workspace)["standard"] == len(real_time.bodies) == 2
    events = [each.detail for each in workspace.ledger.history(workspace.run_id) if each.kind == "deadline"]
    assert len([text for text in events if f"left to batches: deadline.{next(iter(caps))} is" in text]) == 2
    assert set(workspace.column("llm_attempts")) == {1, 2}


def test_rows_that_are_wrong_themselves_are_not_asked_at_once_nor_again(
    letters: Job, workspace: Workspace, real_time: RealTime
) -> None:
    workspace.faults("hold_after:0.5,row_error:400")
    real_time.refused = {f"Say word {n}": 400 for n in range(ROWS)}
    letters(max_rows=ROWS).run()
    assert workspace.statuses() == {"failed": ROWS}
    assert sorted(real_time.asked.values()) == [1] * 6
    assert set(workspace.column("llm_attempts")) == {1, 2}, "the batch that was ended counts as a posting"


def test_a_run_that_is_cancelled_at_its_real_time_calls_goes_on_and_asks_the_others_once(
    letters: Job, workspace: Workspace, real_time: RealTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters(max_rows=ROWS, concurrency=1)
    real_time.answer_first(3)
    from tasks import enrich as flow

    def stop_in_lane(*given: Any) -> None:
        if real_time.waiting.is_set():
            raise Stop
        sleep(*given)

    sleep = vars(flow)["sleep_until"]
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(flow, "sleep_until", stop_in_lane)
        workspace.run()
    waiting = [chunk.waiting_for or "" for chunk in workspace.ledger.chunks(workspace.run_id)]
    assert any(reason.startswith("standard real-time calls batch_") for reason in waiting)
    cancel_run(workspace.home, os.environ, flow.SystemClock(), "letters/k", SilentReporter())
    real_time.go_on.set()
    workspace.run()
    assert workspace.statuses() == {"succeeded": ROWS}
    assert set(real_time.asked.values()) == {1}
    assert lanes(workspace)["standard"] == ROWS // 2


def test_the_service_that_makes_the_calls_is_killed_and_started_again(
    letters: Job, workspace: Workspace, real_time: RealTime
) -> None:
    real_time.answer_first(3)
    real_time.when_waiting = lambda: (stop_services(workspace.home.folder), real_time.go_on.set())
    receipt = letters(max_rows=ROWS, concurrency=1).run()
    assert workspace.statuses() == {"succeeded": ROWS - 1, "failed": 1}
    assert sorted(real_time.asked.values()) == [1] * 6, "nor is the one asked again whose reply was lost"
    lost = workspace.column("llm_error_code").index("reply_lost")
    assert workspace.column("llm_lane")[lost] == "standard"
    assert [row for row, usd in enumerate(workspace.column("llm_cost_usd")) if usd is None] == [lost]
    assert receipt["cost_usd"] is None, "that call may have been paid for"
    workspace.run(retry=True)
    assert len(real_time.bodies) == 6, "a retry asks it only when it is told to"
    workspace.change("retry.on", ["reply_lost"])
    workspace.run(retry=True)
    assert workspace.statuses() == {"succeeded": ROWS}


def test_calls_that_were_refused_and_that_the_caps_carry_no_more_are_made_by_a_batch(
    letters: Job, workspace: Workspace, real_time: RealTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.faults("hold_after:0.5*3")
    create = OpenAICompatible.create

    def refused_in_lane(service: OpenAICompatible, *given: Any) -> ServiceBatch:
        if "real time" in service.account:
            raise TerminalError("refused for good")
        return create(service, *given)

    letters(max_rows=ROWS)
    with monkeypatch.context() as patched, pytest.raises(TerminalError, match="refused for good"):
        patched.setattr(OpenAICompatible, "create", refused_in_lane)
        workspace.run()
    workspace.change("deadline.max_rows", 1)
    workspace.run()
    assert workspace.statuses() == {"succeeded": ROWS}
    assert set(lanes(workspace)) == {None}
    assert not real_time.bodies


def test_calls_that_another_home_may_have_begun_are_not_begun_again_by_a_new_ledger(
    letters: Job, workspace: Workspace, real_time: RealTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run folder is shared, and the process was killed before it knew the batch of its calls."""
    create = OpenAICompatible.create

    def killed_in_lane(service: OpenAICompatible, *given: Any) -> ServiceBatch:
        created = create(service, *given)
        if "real time" in service.account:
            raise Stop
        return created

    letters(max_rows=ROWS)
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(OpenAICompatible, "create", killed_in_lane)
        workspace.run()
    other = workspace.folder / "other"
    monkeypatch.setenv("NIGHTMAIL_HOME", str(other))
    monkeypatch.setenv("NIGHTMAIL_RUNS_URL", workspace.home.runs_url)
    with pytest.raises(TerminalError, match="another NIGHTMAIL_HOME; run the same command there"):
        workspace.run()
    stop_services(other)
    assert set(real_time.asked.values()) <= {1}


def test_rows_that_take_an_answer_over_say_how_it_was_asked(
    letters: Job, workspace: Workspace, real_time: RealTime
) -> None:
    """Every second row asks what the row before it asks; the next night takes all of them over."""
    workspace.source(2 * ROWS, text=[f"word {n // 2}" for n in range(2 * ROWS)])
    workspace.change("reuse", {"duplicates": True})
    letters(max_rows=ROWS).run()
    lanes_of_rows = workspace.column("llm_lane")
    assert len(real_time.bodies) == ROWS // 2
    assert lanes_of_rows[::2] == lanes_of_rows[1::2]
    assert lanes(workspace) == {"standard": ROWS, None: ROWS}
    workspace.run(key="next")
    assert workspace.statuses() == {"reused": 2 * ROWS}
    assert workspace.column("llm_lane") == lanes_of_rows


def test_a_run_that_gives_up_makes_no_real_time_calls(
    letters: Job, workspace: Workspace, real_time: RealTime
) -> None:
    letters(max_rows=ROWS)
    workspace.change("run.give_up_after", "9h")
    workspace.run()
    assert workspace.statuses() == {"succeeded": 6, "cancelled": 6}
    assert not real_time.bodies


def test_plan_says_when_and_at_what_price(letters: Job, workspace: Workspace) -> None:
    workspace.change("prompt.params", {"max_completion_tokens": 50})
    workspace.change("timezone", "Asia/Tokyo")
    letters(max_rows=5, max_usd=2.5)
    plan = workspace.run(dry_run=True)
    assert (plan["deadline"]["lane"], plan["deadline"]["max_rows"], plan["deadline"]["max_usd"]) == (
        "standard",
        5,
        2.5,
    )
    batch_usd, lane_usd = 12 * 50 * 3e-6, 12 * 50 * 6e-6
    assert plan["deadline"]["all_usd"] > lane_usd
    assert plan["estimate"]["most_usd"] > batch_usd + (lane_usd - batch_usd) * 5 / 12
    assert "; then standard real-time calls for at most 5 rows and $2.50" in plan_as_text(
        Plan.model_validate(plan)
    )


@pytest.mark.parametrize(
    ("model", "params", "deadline", "error"),
    [
        ("other", {"max_completion_tokens": 5}, {"max_usd": 1}, "deadline.max_usd: the price of other at openai in standard calls"),
        ("m", {}, {"max_usd": 1}, "deadline.max_usd: how long an answer may be is unknown"),
    ],
)  # fmt: skip
def test_a_cap_in_dollars_needs_a_price_and_a_limit_of_the_answers(
    letters: Job,
    workspace: Workspace,
    model: str,
    params: dict[str, Any],
    deadline: dict[str, Any],
    error: str,
) -> None:
    workspace.change("prompt", {"model": model, "user": "x {{ text }}", "params": params})
    letters(**deadline)
    with pytest.raises(ConfigError, match=error):
        workspace.run(dry_run=True)
