"""What a batch answered becomes rows: every row once, typed, with the status its line deserves."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rigs.workspace import Workspace, comes_through
from tasks.stages.answers.columns import MODERATION
from tasks.stages.answers.files import VIDEO


@pytest.mark.parametrize(
    ("faults", "statuses", "paid"),
    [
        ("failed_rows_in_output,row_error:400:t-3", {"succeeded": 9, "failed": 1}, {"1/1": 1}),
        ("row_error:400:t-3|t-4", {"succeeded": 8, "failed": 2}, {"1/1": 1}),
        ("row_error:400", {"failed": 10}, {"1/1": 1}),
        ("row_error:429:t-3*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("row_error:500:t-3", {"succeeded": 9, "failed": 1}, {"1/1": 1, "1/2": 1, "1/3": 1}),
        ("duplicate_lines", {"succeeded": 10}, {"1/1": 1}),
        ("null_counts,missing_lines*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
        ("unknown_ids", {"succeeded": 10}, {"1/1": 1}),
        ("malformed_line*1", {"succeeded": 9, "failed": 1}, {"1/1": 1}),
        ("truncated_last_line*1", {"succeeded": 9, "failed": 1}, {"1/1": 1}),
        ("refusal:t-3", {"succeeded": 9, "refused": 1}, {"1/1": 1}),
        ("length:t-3", {"succeeded": 9, "truncated": 1}, {"1/1": 1}),
        ("content_filter:t-3", {"succeeded": 9, "refused": 1}, {"1/1": 1}),
        ("body_as_string", {"succeeded": 10}, {"1/1": 1}),
        ("raw_u2028", {"succeeded": 10}, {"1/1": 1}),
        ("glued_lines", {"succeeded": 10}, {"1/1": 1}),
        ("empty:t-3*1", {"succeeded": 10}, {"1/1": 1, "1/2": 1}),
    ],
)
def test_a_misbehaving_batch(
    workspace: Workspace,
    fast_faults: None,
    faults: str,
    statuses: dict[str, int],
    paid: dict[str, int] | None,
) -> None:
    comes_through(workspace, faults, statuses, paid)


def test_only_rows_without_an_answer_are_posted_again_and_all_attempts_are_booked(
    workspace: Workspace, fast_faults: None
) -> None:
    workspace.source(50)
    workspace.faults("expire_after:0.8*1")
    receipt = workspace.run()
    first, second = workspace.batches()
    assert (first.requests, second.requests) == (50, 10)
    assert receipt["tokens"]["input"] == first.input_tokens + second.input_tokens
    assert min(first.input_tokens, second.input_tokens) > 0
    assert sorted(workspace.column("llm_attempts")) == [1] * 40 + [2] * 10
    assert set(workspace.column("llm_batch_id")) == {first.batch_id, second.batch_id}


def test_an_answer_that_breaks_the_schema_is_invalid_and_kept(workspace: Workspace) -> None:
    workspace.change(
        "prompt.schema", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    )
    workspace.faults("invalid_json:t-3|t-5")
    workspace.run()
    assert workspace.statuses() == {"succeeded": 8, "invalid": 2}
    assert workspace.column("llm_parsed")[3] is None
    assert workspace.column("llm_answer")[3]


UTC = datetime.UTC


def test_types_of_the_source_survive(workspace: Workspace) -> None:
    columns = {
        "n": pa.array([1700000000000007919, None] * 5, pa.int64()),
        "price": pa.array([Decimal("12.50"), None] * 5, pa.decimal128(10, 2)),
        "seen": pa.array(
            [datetime.datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)] * 10, pa.timestamp("us", "Asia/Tokyo")
        ),
        "tags": pa.array([["a", None], []] * 5, pa.list_(pa.string())),
        "raw": pa.array([b"\x00\xff"] * 10, pa.binary()),
        "kind": pa.array(["x", "y"] * 5).dictionary_encode(),
    }
    workspace.source(10, **columns)
    workspace.run()
    source = pq.read_table(workspace.folder / "rows.parquet")
    assert workspace.out.select(source.column_names).cast(source.schema) == source
    assert [workspace.out.schema.field(name).type for name in columns] == [
        column.type for column in columns.values()
    ]


def test_a_schema_becomes_typed_fields(workspace: Workspace) -> None:
    workspace.change(
        "prompt.schema",
        {
            "type": "object",
            "properties": {"label": {"type": "string", "enum": ["a", "b"]}, "sure": {"type": "number"}},
            "required": ["label", "sure"],
            "additionalProperties": False,
        },
    )
    workspace.run()
    assert workspace.out.schema.field("llm_parsed").type == pa.struct(
        [("label", pa.string()), ("sure", pa.float64())]
    )
    for text, fields in zip(workspace.column("llm_answer"), workspace.column("llm_parsed"), strict=True):
        assert json.loads(text) == fields
        assert fields["label"] in ("a", "b")


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        ("/v1/chat/completions", pa.string()),
        ("/v1/responses", pa.string()),
        ("/v1/completions", pa.string()),
        ("/v1/moderations", MODERATION),
        ("/v1/embeddings", pa.list_(pa.float32(), 1536)),
        ("/v1/images/generations", pa.string()),
        ("/v1/images/edits", pa.string()),
        ("/v1/videos", VIDEO),
    ],
)
def test_every_endpoint_answers(workspace: Workspace, endpoint: str, kind: pa.DataType) -> None:
    workspace.change("prompt.endpoint", endpoint)
    if endpoint == "/v1/images/edits":
        workspace.change("prompt.params", {"images": [{"image_url": "https://x.test/{{ id }}.png"}]})
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert workspace.out.schema.field("llm_answer").type == kind


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/completions"])
def test_several_answers_a_row_are_a_list(workspace: Workspace, endpoint: str) -> None:
    workspace.change("prompt.endpoint", endpoint)
    workspace.change("prompt.params", {"n": 2})
    workspace.run()
    assert workspace.out.schema.field("llm_answer").type == pa.list_(pa.string())
    assert [len(answers) for answers in workspace.column("llm_answer")] == [2] * 10


def test_vectors_may_travel_as_base64(workspace: Workspace) -> None:
    workspace.change("prompt.endpoint", "/v1/embeddings")
    workspace.change("prompt.params", {"encoding_format": "base64", "dimensions": 8})
    workspace.run()
    packed = workspace.column("llm_answer")
    workspace.change("prompt.params", {"dimensions": 8})
    workspace.run(redo=True)
    assert workspace.column("llm_answer") == packed
    assert workspace.out.schema.field("llm_answer").type == pa.list_(pa.float32(), 8)


def test_all_parts_agree_on_the_size_of_vectors_though_one_has_none(workspace: Workspace) -> None:
    workspace.change("prompt.endpoint", "/v1/embeddings")
    workspace.change("prompt.user", "{{ text }}")
    workspace.source(6)
    workspace.faults("row_error:400:t-0|t-1")
    workspace.change("limits.max_requests", 2)
    workspace.run()
    assert workspace.statuses() == {"failed": 2, "succeeded": 4}
    parts = sorted((workspace.folder / "out/letters").glob("*.parquet"))
    kinds = [pq.read_schema(part).field("llm_answer").type for part in parts]
    assert kinds == [pa.list_(pa.float32(), 1536)] * 3
    assert [vector and len(vector) for vector in workspace.column("llm_answer")] == [None, None, *[1536] * 4]
