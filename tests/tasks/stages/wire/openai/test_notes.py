"""What a plan says of a job that may be posted."""

from __future__ import annotations

import re
from typing import Any

import pytest

from configs.prompt import Prompt
from tasks.stages.wire.openai.notes import notes


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ({"model": "gpt-6-luna", "params": {"temperature": 0}}, ["temperature: whether gpt-6-luna takes it"]),
        ({"model": "gpt-4.1", "params": {"temperature": 0}}, []),
        ({"model": "gpt-6-luna"}, []),
        ({"model": "m", "params": {"response_format": {"type": "json_object"}}}, ["do not hold the word JSON"]),
        ({"model": "m", "system": "Write JSON.", "params": {"response_format": {"type": "json_object"}}}, []),
        ({"model": "m", "schema": {"type": "object"}}, ["not enforced.*additionalProperties must be false"]),
        ({"model": "m", "schema": {"type": "string", "maxLength": 3}}, ["inside one", "'maxLength' is not supported"]),
        ({"model": "m", "schema": {"type": "object", "properties": {}, "additionalProperties": False}}, []),
    ],
)  # fmt: skip
def test_what_a_plan_notes(prompt: dict[str, Any], says: list[str]) -> None:
    found = notes(Prompt.model_validate({"user": "u", **prompt}))
    assert len(found) == len(says)
    assert all(re.search(text, note) for text, note in zip(says, found, strict=True))
