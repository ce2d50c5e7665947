"""`plan --sample`: the first rows as they will be asked, and nothing of it breaks on odd data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from configs.clock import SystemClock
from configs.errors import InputError
from configs.request import RunRequest
from rigs.workspace import Workspace
from tasks.runs.preview import preview, preview_table
from tasks.runs.request import resolve_request
from tasks.stages.plan import RenderedRow
from tasks.stages.prompt.render import Skip


def rows_of(workspace: Workspace, count: int, **options: Any) -> tuple[list[str], list[tuple[str, ...]]]:
    frame = preview(
        resolve_request(RunRequest(workspace.write(), **options), workspace.home, SystemClock()), count
    )
    return list(frame.columns), list(frame.itertuples(index=False, name=None))


def test_it_shows_the_key_what_the_prompt_reads_the_id_and_the_prompt(workspace: Workspace) -> None:
    workspace.source(3, unused=["x"] * 3)
    names, rows = rows_of(workspace, 2)
    assert names == ["id", "text", "custom_id", "prompt"]
    assert rows == [("t-0", "word 0", "t-0", "Say word 0"), ("t-1", "word 1", "t-1", "Say word 1")]


@pytest.mark.parametrize(("count", "limit", "shown"), [(1, None, 1), (99, None, 10), (5, 3, 3)])
def test_it_shows_no_more_rows_than_there_are(
    workspace: Workspace, count: int, limit: int | None, shown: int
) -> None:
    _, rows = rows_of(workspace, count, limit=limit)
    assert [row[0] for row in rows] == [f"t-{n}" for n in range(shown)]


def test_a_sample_beyond_one_batch_of_the_reader_goes_on_in_order(workspace: Workspace) -> None:
    workspace.source(3_000)
    workspace.change("source.key", None)
    _, rows = rows_of(workspace, 2_500)
    assert [row[-2] for row in rows] == [f"row-{n:09d}" for n in range(2_500)]


def test_several_templates_are_told_apart_and_a_row_that_fails_says_why(workspace: Workspace) -> None:
    workspace.change("prompt.system", "Be {{ text }}")
    workspace.change("prompt.user", "{{ 1 // (text | length - 6) }}")
    workspace.source(2, text=["a longer word", "word 0"])
    _, rows = rows_of(workspace, 2)
    assert rows[0][-1] == "[prompt.system] Be a longer word\n[prompt.user] 0"
    assert rows[1][-1].startswith("skipped: prompt.user line 1: ZeroDivisionError")


def test_an_empty_source_is_an_error(workspace: Workspace) -> None:
    workspace.source(0)
    with pytest.raises(InputError):
        rows_of(workspace, 1)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([1, None], pa.int64()), ["1", ""]),
        (pa.array([0.1, float("nan")], pa.float32()), ["0.1", ""]),
        (pa.array([2**64 - 1, None], pa.uint64()), [str(2**64 - 1), ""]),
        (pa.array([[1, None], None]), ["[1,null]", ""]),
        (pa.array([{"a": True}, None]), ['{"a":true}', ""]),
        (pa.array([b"\xff\xfe", None]), ["(2 bytes)", ""]),
        (pa.array([datetime(9999, 1, 1, tzinfo=UTC), None]), ["9999-01-01T00:00:00+00:00", ""]),
        (pa.array(["a", None], pa.string_view()), ["a", ""]),
        (pa.nulls(2), ["", ""]),
    ],
    ids=lambda each: str(each.type) if isinstance(each, pa.Array) else None,
)
def test_values_read_as_they_do_in_a_prompt(values: pa.Array, texts: list[str]) -> None:
    batch = pa.record_batch([values], names=["custom_id"])  # a source may call its column as ours is called
    rows = [RenderedRow(batch.slice(n, 1), f"r{n}", Skip("template_error", "no")) for n in range(2)]
    frame = preview_table(rows, ["custom_id"])
    assert list(frame.columns) == ["custom_id", "custom_id", "prompt"]
    assert list(frame.itertuples(index=False, name=None)) == [
        (text, f"r{n}", "skipped: no") for n, text in enumerate(texts)
    ]
