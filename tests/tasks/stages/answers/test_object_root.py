"""Schemas whose root is no object."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.stages.answers.object_root import is_wrapped, with_object_root


@pytest.mark.parametrize(
    ("schema", "wrapped"),
    [
        ({"type": "object"}, False),
        ({"properties": {"x": {}}}, False),
        ({"type": "array"}, True),
        ({"type": "string"}, True),
        ({"anyOf": [{"type": "object"}]}, True),
        ({}, True),
    ],
)
def test_only_what_is_no_object_gets_one_around_it(schema: dict[str, Any], wrapped: bool) -> None:
    assert is_wrapped(schema) is wrapped
    sent = with_object_root(schema)
    assert sent["type"] == "object"
    assert (sent.get("required") == ["answer"]) is wrapped
