"""OpenAI's line format at all eight endpoints: what a job posts, and what its answers become in Parquet.

The samples follow the API reference and the SDK's types; texts in them are invented.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.prompt import Prompt
from tasks.stages.answers.columns import MODERATION, answer_column_of
from tasks.stages.answers.files import VIDEO
from tasks.stages.answers.schema import checker_of
from tasks.stages.merge.lines import first_vector_size
from tasks.stages.merge.merge_chunk import Attempt, merge_chunk
from tasks.stages.output_columns import LINE_COLUMNS
from tasks.stages.prompt.render import Renderer
from tasks.stages.validate import check_lines
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.openai import requests
from tasks.stages.wire.openai.lenient import read_line
from tasks.stages.wire.openai.results import ResultParser
from tasks.stages.wire.outcome import as_columns

SAMPLES = Path(__file__).resolve().parents[4] / "samples" / "openai"
OPENAI = dialect("openai")
CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
EMBEDDINGS, MODERATIONS = "/v1/embeddings", "/v1/moderations"
IMAGES, EDITS, VIDEOS = "/v1/images/generations", "/v1/images/edits", "/v1/videos"
ENDPOINTS = (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, MODERATIONS, IMAGES, EDITS, VIDEOS)
TICKET = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["bug", "billing", "other"]}, "confidence": {"type": "number"}},
    "required": ["label", "confidence"],
    "additionalProperties": False,
}  # fmt: skip


def sample(kind: str, endpoint: str) -> Path:
    return SAMPLES / f"{kind}_{endpoint.removeprefix('/v1/').replace('/', '_')}.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in path.read_bytes().split(b"\n") if raw]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_samples_are_batch_files(endpoint: str) -> None:
    with sample("request", endpoint).open("rb") as file:
        assert list(check_lines(file, endpoint=endpoint)) == []


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_fast_ways_read_the_samples_as_the_slow_one_does(endpoint: str) -> None:
    parser = ResultParser(endpoint)
    for raw in filter(None, sample("output", endpoint).read_bytes().split(b"\n")):
        slowly = read_line(raw, endpoint)
        assert parser.parse(raw) == [slowly]
        fast = {name: tuple(values) for name, values in parser.columns(raw).items()}
        assert fast == as_columns([slowly])


@pytest.mark.parametrize("field", [field for column, field in LINE_COLUMNS if not column.by_choice])
def test_every_column_that_is_read_from_lines_is_filled_by_some_sample(field: str) -> None:
    files = [(endpoint, sample("output", endpoint)) for endpoint in (CHAT, RESPONSES)]
    raws = [(endpoint, raw) for endpoint, file in [*files, (CHAT, SAMPLES / "error_file.jsonl")]
            for raw in file.read_bytes().split(b"\n") if raw]  # fmt: skip
    assert any(getattr(read_line(raw, endpoint), field) is not None for endpoint, raw in raws)


POSTED = [
    (CHAT, 0, {"model": "gpt-5.4-mini", "system": "Classify the ticket.", "user": "{{ t }}",
               "params": {"max_completion_tokens": 200}}, "請求書が二重に届きました。"),
    (CHAT, 1, {"model": "gpt-5.4-mini", "system": "Classify the ticket.", "user": "{{ t }}", "schema": TICKET,
               "params": {"max_completion_tokens": 200, "reasoning_effort": "low", "prompt_cache_key": "ticket-v3"}},
     "The app crashes on login."),
    (CHAT, 2, {"model": "gpt-5.4-mini", "params": {"max_completion_tokens": 100}, "user": [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": "{{ t }}", "detail": "low"}}]}, "https://example.com/receipt.png"),
    (RESPONSES, 0, {"model": "gpt-5.4-mini", "system": "Answer in one sentence.", "user": "{{ t }}",
                    "params": {"max_output_tokens": 300, "store": False}}, "What is a batch API?"),
    (RESPONSES, 1, {"model": "gpt-5.4-mini", "user": [{"type": "text", "text": "{{ t }}"}], "schema": TICKET,
                    "params": {"reasoning": {"effort": "low"}, "max_output_tokens": 300, "store": False}},
     "Classify: the app crashes."),
    (COMPLETIONS, 0, {"model": "gpt-3.5-turbo-instruct", "user": "{{ t }}",
                      "params": {"max_tokens": 16, "temperature": 0}}, "Say hello."),
    (EMBEDDINGS, 0, {"model": "text-embedding-3-small", "user": "{{ t }}",
                     "params": {"encoding_format": "float", "dimensions": 4}}, "first document"),
    (MODERATIONS, 0, {"model": "omni-moderation-latest", "user": "{{ t }}"}, "some text to check"),
    (MODERATIONS, 1, {"model": "omni-moderation-latest", "user": [
        {"type": "text", "text": "caption"}, {"type": "image_url", "image_url": {"url": "{{ t }}"}}]},
     "https://example.com/a.png"),
    (IMAGES, 0, {"model": "gpt-image-2", "user": "{{ t }}",
                 "params": {"size": "1024x1024", "quality": "low", "output_format": "webp", "n": 1}},
     "a paper crane on a desk"),
    (EDITS, 0, {"model": "gpt-image-2", "user": "make the background white",
                "params": {"images": [{"image_url": "{{ t }}"}], "mask": {"file_id": "file-mask123"},
                           "size": "1024x1024", "quality": "low"}}, "https://example.com/crane.png"),
    (VIDEOS, 0, {"model": "sora-2", "user": "{{ t }}", "params": {
        "seconds": "4", "size": "1280x720", "input_reference": {"file_id": "file-img123"}}}, "a paper crane unfolding"),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "at", "prompt", "cell"), POSTED)
def test_a_job_posts_the_body_that_the_reference_shows(
    endpoint: str, at: int, prompt: dict[str, Any], cell: str
) -> None:
    wanted = lines(sample("request", endpoint))[at]
    tree = requests.request_tree(Prompt(endpoint=endpoint, **prompt))
    (made,) = Renderer(tree, ["t"]).lines(pa.record_batch({"t": [cell]}), [wanted["custom_id"]])
    assert isinstance(made, bytes)
    body = json.loads(made)["body"]
    for form in (body.get("response_format", {}).get("json_schema"), body.get("text", {}).get("format")):
        if form:
            assert form.pop("name") == "answer"  # the sample calls it otherwise
    expected = json.loads(json.dumps(wanted).replace('"name": "ticket", ', ""))["body"]
    assert body == expected


class Shelf:
    """Files in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def keep(self, name: str, data: bytes) -> str:
        self.files[name] = data
        return name

    def find(self, name: str) -> str | None:
        return name if name == "v-1-1.mp4" else None


def merged(endpoint: str, *more: Path, **prompt: Any) -> tuple[pa.Table, Shelf]:
    """The sample's answers on their rows, through the parser and the merge into Parquet and back."""
    paths = (sample("output", endpoint), *more)
    asked = Prompt(endpoint=endpoint, **{"model": "m", "user": "u", **prompt})
    ids = sorted(line["custom_id"] for path in paths for line in lines(path))
    rows, sink = io.BytesIO(), io.BytesIO()
    table = pa.table({"n": pa.array(range(len(ids)), pa.int64())})
    with pa.ipc.new_stream(rows, table.schema) as writer:
        writer.write_table(table)
    nothing = pa.nulls(len(ids), pa.string())
    why = pa.table({"custom_id": pa.array(ids), "skip_code": nothing, "skip_message": nothing})
    files = [io.BytesIO(path.read_bytes()) for path in paths]
    parser, shelf = OPENAI.parser_for(asked), Shelf()
    size = first_vector_size(files, parser) if endpoint == EMBEDDINGS else None
    rows.seek(0)
    merge_chunk(rows, why, [Attempt(files)], sink, parser=parser, answer_column=answer_column_of(asked, size, shelf),
                checker=checker_of(asked))  # fmt: skip
    return pq.read_table(sink), shelf


CALLS = [{"id": "call_1", "type": "function",
          "function": {"name": "get_weather", "arguments": '{"city":"Osaka"}'}}]  # fmt: skip
OUTCOMES = [
    (CHAT, "ticket-0001", "succeeded", "billing\u2028(二重請求)", "stop", None, (31, 12, 0, 0)),
    (CHAT, "ticket-0002", "succeeded", '{"label":"bug","confidence":0.97}', "stop", None, (1280, 14, 1024, 64)),
    (CHAT, "ticket-0003", "truncated", "A receipt that ends abrup", "length", None, (95, 100, 0, 0)),
    (CHAT, "ticket-0004", "succeeded", json.dumps(CALLS, separators=(",", ":")), "tool_calls", None, (31, 12, 0, 0)),
    (CHAT, "ticket-0005", "refused", None, "stop", "refusal", (31, 12, 0, 0)),
    (CHAT, "ticket-0006", "refused", None, "content_filter", "content_filter", (40, 0, 0, 0)),
    (RESPONSES, "r-1", "succeeded", "A batch API runs many requests later at a discount.", "completed", None,
     (24, 40, 0, 20)),
    (RESPONSES, "r-2", "succeeded", '{"label":"bug","confidence":0.9}', "completed", None, (24, 40, 0, 20)),
    (RESPONSES, "r-3", "truncated", None, "max_output_tokens", None, (24, 40, 0, 20)),
    (RESPONSES, "r-4", "refused", None, "completed", "refusal", (24, 40, 0, 20)),
    (RESPONSES, "r-5", "failed", None, "failed", "server_error", (None,) * 4),
    (COMPLETIONS, "c-1", "succeeded", "\n\nHello!", "stop", None, (3, 3, None, None)),
    (EMBEDDINGS, "doc-1", "succeeded", pytest.approx([0.012, -0.044, 0.31, 0.002]), None, None,
     (2, None, None, None)),
    (EMBEDDINGS, "doc-2", "succeeded", pytest.approx([0.1, 0.2, 0.3, 0.4]), None, None, (4, None, None, None)),
    (IMAGES, "i-1", "succeeded", "i-1-1.png", None, None, (18, 272, None, None)),
    (EDITS, "e-1", "succeeded", "e-1-1.png", None, None, (341, 272, None, None)),
    (VIDEOS, "v-1", "succeeded", {"id": "video_B61", "status": "completed", "file": "v-1-1.mp4", "seconds": "4",
     "size": "1280x720", "expires_at": 1795392361}, "completed", None, (None,) * 4),
    (VIDEOS, "v-2", "failed", None, None, "video_generation_failed", (None,) * 4),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "row", "status", "answer", "reason", "code", "tokens"), OUTCOMES)
def test_every_outcome_of_every_endpoint(
    endpoint: str, row: str, status: str, answer: Any, reason: str | None, code: str | None, tokens: object
) -> None:
    table, shelf = merged(endpoint)
    found = next(each for each in table.to_pylist() if each["llm_custom_id"] == row)
    assert (found["llm_status"], found["llm_answer"] or None) == (status, answer)
    assert (found["llm_finish_reason"], found["llm_error_code"]) == (reason, code)
    spent = tuple(found[f"llm_{kind}_tokens"] for kind in ("input", "output", "cached", "reasoning"))
    assert spent == tokens
    if endpoint in (IMAGES, EDITS):
        assert shelf.files[answer].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("endpoint", "prompt", "kind"),
    [
        (CHAT, {}, pa.string()),
        (CHAT, {"params": {"n": 2}}, pa.list_(pa.string())),
        (RESPONSES, {}, pa.string()),
        (COMPLETIONS, {"params": {"n": 2}}, pa.list_(pa.string())),
        (EMBEDDINGS, {}, pa.list_(pa.float32(), 4)),
        (EMBEDDINGS, {"params": {"dimensions": 4}}, pa.list_(pa.float32(), 4)),
        (MODERATIONS, {}, MODERATION),
        (IMAGES, {}, pa.string()),
        (IMAGES, {"params": {"n": 4}}, pa.list_(pa.string())),
        (EDITS, {"params": {"images": [{"file_id": "f"}]}}, pa.string()),
        (VIDEOS, {}, VIDEO),
    ],
)
def test_answers_have_one_type_on_disk(endpoint: str, prompt: Any, kind: pa.DataType) -> None:
    assert merged(endpoint, **prompt)[0].schema.field("llm_answer").type == kind


def test_a_moderation_result_is_a_struct() -> None:
    (found,) = merged(MODERATIONS)[0]["llm_answer"].to_pylist()
    assert found["flagged"] is False
    assert found["categories"]["self-harm/intent"] is False
    assert found["category_scores"]["violence/graphic"] == 1e-05
    assert found["other_scores"] == []


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_structured_answers_are_typed_in_both_dialects(endpoint: str) -> None:
    table, _ = merged(endpoint, schema=TICKET)
    fields = [value for value in table["llm_parsed"].to_pylist() if value]
    assert [each["label"] for each in fields] == ["bug"]
    assert table.schema.field("llm_parsed").type == pa.struct(
        [("label", pa.string()), ("confidence", pa.float64())]
    )


def test_the_error_file_gives_every_row_its_reason() -> None:
    table, _ = merged(CHAT, SAMPLES / "error_file.jsonl")
    rows = {row["llm_custom_id"]: (row["llm_status"], row["llm_error_code"]) for row in table.to_pylist()}
    assert [rows[f"ticket-01{at:02}"] for at in range(1, 8)] == [
        ("failed", "context_length_exceeded"),
        ("failed", "unsupported_parameter"),
        ("failed", "rate_limit_exceeded"),
        ("failed", "server_error"),
        ("expired", "batch_expired"),
        ("cancelled", "batch_cancelled"),
        ("failed", "request_timeout"),
    ]
