"""What finished batches teach: ratios of sums, and answers weighed by their number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.stages.cost.calibration import CountedBatch, History

WHOLE = CountedBatch(
    requests=100, estimated_tokens=1_000, counted=100, input_tokens=900, output_tokens=500, output_p95=9
)
HALF = CountedBatch(
    requests=20, estimated_tokens=400, counted=10, input_tokens=240, output_tokens=20, output_p95=20
)


def test_only_the_requests_whose_answers_say_their_tokens_count() -> None:
    assert (HALF.local_tokens, HALF.factor) == (200, 1.2)


def test_the_factor_is_a_ratio_of_sums_between_those_of_the_batches() -> None:
    history = History([WHOLE, HALF], same_prompt=True)
    assert history.factor == pytest.approx(1_140 / 1_200)
    assert (history.least_factor, history.greatest_factor) == (0.9, 1.2)


@pytest.mark.parametrize(
    ("batches", "same_prompt", "p95"),
    [
        ([WHOLE, HALF], True, 20),
        ([WHOLE], True, 9),
        ([WHOLE, HALF], False, None),
        ([HALF], True, None),
        ([replace(WHOLE, output_tokens=0, output_p95=0)], True, None),
    ],
    ids=["the longest", "one", "other prompts'", "too few", "nobody says"],
)
def test_how_long_most_answers_are_goes_by_the_batch_with_the_longest(
    batches: list[CountedBatch], same_prompt: bool, p95: int | None
) -> None:
    assert History(batches, same_prompt=same_prompt).answer_p95 == p95


def test_the_lengths_of_answers_are_weighed_by_their_number() -> None:
    history = History([WHOLE, HALF], same_prompt=True)
    assert history.answers == 110
    assert history.output_mean == pytest.approx(520 / 110)
    assert history.least_output_mean == 2
    assert history.output_p95 == pytest.approx((9 * 100 + 20 * 10) / 110)
