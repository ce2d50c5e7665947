"""What a run is estimated to take: low, expected and high, and nothing guessed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from configs.budgets import Budget
from configs.job import Job
from rigs.workspace import Workspace
from tasks.runs.approval import too_dear
from tasks.runs.estimates import estimate
from tasks.stages.cost.calibration import CountedBatch, History
from tasks.stages.prompt.token_sample import SampleSummary
from tasks.stages.prompt.tokenizer import encoding_of
from tasks.stages.report.estimate import CostRange, Estimate, TokenRange
from tasks.stages.report.estimate_text import answers_text, cost_lines, reserved_text

AT = datetime(2026, 11, 1, tzinfo=UTC)
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def estimated(
    model: str = "gpt-5.4-mini",
    provider: str = "openai",
    uncounted: dict[str, int] | None = None,
    specified: int = 0,
    history: History | None = None,
    deadline: dict[str, Any] | None = None,
    **prompt: Any,
) -> Estimate:
    """Of 100 requests with 100,000 tokens, the sample of which may be off by 1,000."""
    job = Job.model_validate(
        {
            "name": "j",
            "source": {"path": "rows.parquet"},
            "prompt": {"model": model, "user": "{{ a }}", **prompt},
            "provider": {"name": provider},
            "output": {"path": "out"},
            "deadline": deadline,
        }
    )
    sample = SampleSummary(encoding_of(model), 50, 100, 1_000.0, specified, uncounted or {})
    return estimate(job, AT, 100_000, 100, sample, history)


CAP = {"params": {"max_completion_tokens": 50}}


def test_a_cap_of_the_answers_is_the_most_they_can_be() -> None:
    found = estimated(**CAP)
    assert found.prompt == TokenRange(low=99_000, expected=100_000, high=101_000)
    assert found.output == TokenRange(low=0, high=5_000)
    assert found.output_method == "at most max_completion_tokens for each request"
    assert found.total == TokenRange(low=99_000, high=106_000)
    # A batch of gpt-5.4-mini: $0.375 and $2.25 a million tokens, twice that in real time.
    assert found.cost_usd == pytest.approx(0.0375)
    assert found.total_usd.low == pytest.approx(0.099 * 0.375)
    assert found.total_usd.high == pytest.approx(0.101 * 0.375 + 0.005 * 2.25)
    assert found.realtime_usd.high == pytest.approx(2 * (found.total_usd.high or 0))
    assert (found.total_usd.expected, found.price_date) == (None, "2026-10-01")
    assert found.price_source is not None
    assert found.price_source.endswith("openai/gpt-5.4-mini")


@pytest.mark.parametrize(
    ("prompt", "output"),
    [
        ({}, TokenRange(low=0)),
        ({"params": {"max_tokens": "{{ a | int }}"}}, TokenRange(low=0)),
        ({"params": {"max_completion_tokens": 50, "n": 3}}, TokenRange(low=0, high=15_000)),
        ({"endpoint": "/v1/responses", "params": {"max_output_tokens": 7}}, TokenRange(low=0, high=700)),
        ({"endpoint": EMBEDDINGS}, TokenRange(low=0, expected=0, high=0)),
    ],
)
def test_answers_are_as_many_as_the_job_allows(prompt: dict[str, Any], output: TokenRange) -> None:
    assert estimated(**prompt).output == output


BATCHES = [
    CountedBatch(requests=10, estimated_tokens=10_000, counted=10, input_tokens=9_000, output_tokens=100, output_p95=20),
    CountedBatch(requests=10, estimated_tokens=10_000, counted=10, input_tokens=8_000, output_tokens=300, output_p95=40),
]  # fmt: skip


def test_earlier_batches_of_the_same_prompt_decide() -> None:
    found = estimated(specified=400, history=History(BATCHES, same_prompt=True), **CAP)
    assert found.prompt == TokenRange(low=79_200, expected=85_000, high=90_900)
    assert found.output == TokenRange(low=1_000, expected=2_000, high=3_000)
    assert found.output_method == "20 answers had 20.0 on average, 95 of 100 at most 30"
    assert (
        found.method
        == "o200k_base; 50 of 100 requests counted, ±1.0%; × 0.850 by 2 finished batches of this prompt"
    )
    assert found.total_usd.expected == pytest.approx(0.085 * 0.375 + 0.002 * 2.25)
    assert found.cost_usd == pytest.approx(0.085 * 0.375)
    assert answers_text(found).startswith("about 2,000 tokens, up to 3,000 (20 answers")
    assert cost_lines(found)[0].endswith("about $0.0364 with the answers ($0.0319 to $0.0408)")


def test_earlier_batches_of_other_prompts_narrow_nothing_and_say_nothing_of_answers() -> None:
    found = estimated(specified=400, history=History(BATCHES, same_prompt=False), **CAP)
    assert found.prompt == TokenRange(low=59_000, expected=85_000, high=101_000)
    assert found.output == TokenRange(low=0, high=5_000)
    assert "schema and tools as JSON" in found.method


@pytest.mark.parametrize(
    ("made", "margin"),
    [
        ({}, 1.05),
        ({"model": "claude-sonnet-4-5", "provider": "anthropic"}, 1.414),
        ({"history": History([replace(BATCHES[0], input_tokens=20_000)], same_prompt=True)}, 2.02),
        ({"history": History(BATCHES, same_prompt=True)}, 1.05),
    ],
    ids=[
        "its own tokenizer",
        "another one in its place",
        "the provider counts more",
        "the provider counts fewer",
    ],
)
def test_what_prompts_are_reserved_as_goes_by_how_uncertain_their_count_is(
    made: dict[str, Any], margin: float
) -> None:
    limit: dict[str, Any] = {"params": {"max_tokens" if "provider" in made else "max_completion_tokens": 50}}
    assert estimated(**made, **limit).input_margin == pytest.approx(margin)


def test_the_most_a_run_may_cost_goes_by_the_limit_of_its_answers_and_not_by_earlier_ones() -> None:
    found = estimated(history=History(BATCHES, same_prompt=True), **CAP)
    assert found.most_usd == pytest.approx(0.105 * 0.375 + 0.005 * 2.25)
    assert found.total_usd.high is not None
    assert found.total_usd.high < 0.045 < found.most_usd
    assert "up to $0.0506" in str(too_dear(Budget(approve_above_usd=0.045), found))
    assert too_dear(Budget(approve_above_usd=0.051), found) is None


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        (CAP, 40, "answers of 40 tokens, to which 95 of 100 earlier ones kept"),
        ({}, 40, "answers of 40 tokens, to which 95 of 100 earlier ones kept"),
        (
            {"params": {"max_completion_tokens": 30}},
            30,
            "answers of 30 tokens, the most by max_completion_tokens",
        ),
    ],
    ids=["fewer than the limit", "no limit", "the limit is lower"],
)
def test_what_is_reserved_goes_by_earlier_answers_within_the_limit(
    prompt: dict[str, Any], answer: int, said: str
) -> None:
    found = estimated(history=History(BATCHES, same_prompt=True), **prompt)
    assert found.answer_p95 == 40
    assert found.reserved_usd == pytest.approx(0.105 * 0.375 + answer * 100 * 2.25 / 1e6)
    assert reserved_text(found) == f"${found.reserved_usd:.4f}: prompts as 1.05 times their count, {said}"


def test_nothing_is_reserved_for_answers_of_which_nobody_knows_the_length() -> None:
    found = estimated()
    assert (found.answer_p95, found.reserved_usd, reserved_text(found)) == (None, None, "")


def test_a_run_without_a_limit_of_its_answers_is_approved_by_how_long_earlier_ones_were() -> None:
    found = estimated(history=History(BATCHES, same_prompt=True))
    assert found.most_usd is None
    assert "up to $0.0484" in str(too_dear(Budget(approve_above_usd=0.048), found))
    assert too_dear(Budget(approve_above_usd=0.049), found) is None


def test_nobody_knows_the_most_that_uncounted_media_cost() -> None:
    found = estimated(uncounted={"pictures": 6}, **CAP)
    assert (found.most_usd, found.uncounted) == (None, ("pictures",))
    assert "an unknown sum" in str(too_dear(Budget(approve_above_usd=1.0), found))


def test_history_makes_no_unknown_picture_known() -> None:
    found = estimated(uncounted={"pictures": 6}, history=History(BATCHES, same_prompt=True))
    assert (found.prompt, found.cost_usd) == (TokenRange(low=99_000), None)
    assert "×" not in found.method


def test_embeddings_cost_what_their_inputs_do() -> None:
    found = estimated("text-embedding-3-small", endpoint=EMBEDDINGS)
    assert found.total_usd.expected == found.cost_usd == pytest.approx(0.001)


def test_a_schema_may_count_for_less_than_its_json() -> None:
    assert estimated(specified=400).prompt == TokenRange(low=59_000, expected=100_000, high=101_000)


def test_the_range_is_wider_where_another_tokenizer_stands_in() -> None:
    found = estimated("claude-haiku-4-5", "anthropic")
    assert found.prompt == TokenRange(low=79_200, expected=100_000, high=141_400)
    assert found.method.startswith("o200k_base, in place of the model's own tokenizer")


@pytest.mark.parametrize(("provider", "cost"), [("openai", None), ("local", 0.0)])
def test_media_without_a_rule_make_the_cost_unknown_unless_it_is_free(
    provider: str, cost: float | None
) -> None:
    found = estimated(provider=provider, uncounted={"pictures": 6}, **CAP)
    assert found.prompt == TokenRange(low=99_000)
    assert (found.cost_usd, found.total_usd.high) == (cost, cost)
    assert "not counted: 6 pictures" in found.method


def test_what_is_billed_beside_tokens_makes_the_cost_unknown() -> None:
    found = estimated(params={"tools": [{"type": "web_search"}]})
    assert (found.cost_usd, found.total_usd, found.realtime_usd) == (None, CostRange(), CostRange())
    assert found.price_source is None


def test_a_receipt_says_how_far_off_its_estimate_was(workspace: Workspace) -> None:
    receipt = workspace.run()
    assert receipt["tokens"]["input"] > 0
    assert receipt["estimate"]["prompt_tokens"] == pytest.approx(receipt["tokens"]["input"], abs=1)
    assert abs(receipt["estimate_deviation"]) < 0.01
    run = workspace.ledger.latest_run("letters", "k")
    assert run is not None
    assert run.estimate == receipt["estimate"]


@pytest.mark.parametrize(("rows", "times"), [(100, 2.0), (1_000, 2.0), (25, 1.25)])
@pytest.mark.parametrize("prompt", [{}, CAP])
def test_what_is_approved_and_reserved_has_the_real_time_calls_after_a_deadline(
    prompt: dict[str, Any], rows: int, times: float
) -> None:
    history = History(BATCHES, same_prompt=True)
    without = estimated(history=history, **prompt)
    found = estimated(history=history, deadline={"after": "8h", "max_rows": rows}, **prompt)
    assert found.reserved_usd == pytest.approx(times * (without.reserved_usd or 0))
    assert found.most_usd == (pytest.approx(times * without.most_usd) if without.most_usd else None)
    most = found.most_usd or found.reserved_usd or 0
    assert too_dear(Budget(approve_above_usd=most * 0.99), found)
    assert not too_dear(Budget(approve_above_usd=most * 1.01), found)
