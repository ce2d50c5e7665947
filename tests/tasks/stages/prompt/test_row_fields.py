from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest

from configs.errors import ConfigError
from tasks.stages.prompt.conversations import Turn
from tasks.stages.prompt.render import CUSTOM_ID, Renderer, Skip
from tasks.stages.prompt.row_fields import RowFields

PART = pa.struct([("type", pa.string()), ("text", pa.string()), ("image_url", pa.string())])
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(PART)), ("name", pa.string())]))


def write(turns: list[Turn], system: str | None) -> dict[str, Any]:
    """One field more where there is a system text."""
    return {"said": [turn.content for turn in turns], **({"told": system} if system else {})}


def renderer(system: str | None = None, column: str = "m") -> Renderer:
    return Renderer({"id": CUSTOM_ID, "b": {"said": RowFields(column, system, write), "z": 1}}, ["m", "n"])


def bodies(found: list[bytes | Skip]) -> list[Any]:
    return [orjson.loads(line)["b"] if isinstance(line, bytes) else line.code for line in found]


def test_which_fields_there_are_differs_from_row_to_row() -> None:
    rows = pa.record_batch({"m": ['[{"role":"user","content":"{{ n }} %s"}]'] * 2, "n": ["A", ""]})
    found = renderer("{{ n }}").lines(rows, ["a", "b"])
    assert bodies(found) == [{"said": ["{{ n }} %s"], "told": "A", "z": 1}, {"said": ["{{ n }} %s"], "z": 1}]


def test_a_row_without_a_conversation_is_lost_alone() -> None:
    good = '[{"role":"user","content":"\u2028"}]'
    rows = pa.record_batch({"m": pa.array([good, None, good, "x"], pa.string()), "n": [""] * 4})
    made = renderer()
    found = made.lines(rows, ["a", "b", "c", "d"])
    assert bodies(found) == [
        {"said": ["\u2028"], "z": 1},
        "invalid_messages",
        {"said": ["\u2028"], "z": 1},
        "invalid_messages",
    ]
    assert made.preview(rows.slice(1)) == found[1], "a plan says the same"
    assert made.preview(rows) == [("prompt.messages_from", '{"said":["\u2028"]}')]


def test_a_conversation_too_deep_to_be_read_loses_its_row_alone() -> None:
    deep = f'[{{"role":"user","content":"x","more":{"[" * 1_000}{"]" * 1_000}}}]'
    rows = pa.record_batch({"m": ['[{"role":"user","content":"a"}]', deep], "n": [""] * 2})
    assert bodies(renderer().lines(rows, ["a", "b"])) == [{"said": ["a"], "z": 1}, "invalid_messages"]


def test_lists_of_structs_are_conversations() -> None:
    part = {"type": "text", "text": "hi", "image_url": None}
    cells = pa.array([[{"role": "user", "content": [part], "name": None}]], MESSAGES)
    rows = pa.record_batch({"m": cells, "n": [""]})
    assert bodies(renderer().lines(rows, ["a"])) == [{"said": [[{"type": "text", "text": "hi"}]], "z": 1}]


def test_what_all_lines_have_in_common_is_json() -> None:
    assert orjson.loads(renderer("x").blank_line) == {"id": "", "b": {"said": [], "z": 1}}
    assert renderer("{{ n }}").columns == ("m", "n")
    assert renderer().may_hold_media


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"prompt.messages_from: the dataset has no column 'mm'; did you mean 'm'"
    ):
        renderer(column="mm")
