"""Counts as services write them, and what a run can add up of them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from tasks.stages.wire.formats import dialect
from tasks.stages.wire.json_values import MOST, integer


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((three, 3) for three in (3, 3.0, "3", " 3 ")),
        (0, 0),
        (MOST, MOST),
        *((nothing, None) for nothing in (None, "", "²", "-3", -3, -3.0, 2.5, "2.5", True, [], {}, "three")),
        *(
            (nothing, None)
            for nothing in (MOST + 1, str(MOST + 1), 10**30, 1e300, float("inf"), float("nan"))
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_count_is_read_in_every_form_or_not_at_all(value: Any, read: int | None) -> None:
    assert integer(value) == read


def answered(name: str, count: Any) -> bytes:
    """A result line whose every count is that."""
    if name == "openai":
        usage = {"prompt_tokens": count, "completion_tokens": count}
        body: Any = {"model": "m", "choices": [{"index": 0, "message": {"content": "x"}}], "usage": usage}
        line: Any = {"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    elif name == "anthropic":
        usage = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens"), count)
        message = {"type": "message", "content": [{"type": "text", "text": "x"}], "usage": usage}
        line = {"custom_id": "a", "result": {"type": "succeeded", "message": message}}
    else:
        usage = dict.fromkeys(("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"), count)
        content = {"parts": [{"text": "x"}]}
        line = {"key": "a", "response": {"candidates": [{"content": content}], "usageMetadata": usage}}
    return json.dumps(line).encode()


@pytest.mark.parametrize(
    "count", [10**30, 2**63, 2**63 - 1, -1, 2.5, "²", None, [], True, float("nan"), float("inf")], ids=repr
)
@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
def test_no_usage_makes_a_number_that_sums_of_rows_do_not_hold(name: str, count: Any) -> None:
    parser = dialect(name).parser("/v1/chat/completions")  # type: ignore[arg-type]
    outcome = parser.parse_line(answered(name, count))
    assert outcome.answer == "x"
    columns = parser.columns(answered(name, count) + b"\n")
    for tokens in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        value = getattr(outcome, tokens)
        assert value is None or 0 <= value <= 3 * MOST
        assert list(columns[tokens]) == [value]
        pa.array(columns[tokens], pa.int64())
