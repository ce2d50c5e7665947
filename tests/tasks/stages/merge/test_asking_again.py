"""Which rows another attempt asks: those that `retry.on` names, as often as they may be; all others keep their answers."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.answers.columns import VectorColumn
from tasks.stages.answers.schema import AnswerChecker
from tasks.stages.merge.merge_chunk import Attempt, MergeStats, merge_chunk
from tasks.stages.wire.openai.results import ResultParser

CHECKER = AnswerChecker({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
WORDS = ("succeeded", "invalid", "truncated", "refused", "transient", "request", "billing")
CODES = {"transient": "server_error", "request": "invalid_request", "billing": "insufficient_quota"}
Answers = dict[str, str]


def line(custom_id: str, word: str, text: str | None = None) -> bytes:
    if word in CODES:
        error = {"code": CODES[word], "message": f"about {word}"}
        return json.dumps({"custom_id": custom_id, "response": None, "error": error}).encode() + b"\n"
    content = {"succeeded": '{"n": 1}', "invalid": "sure", "truncated": '{"n"'}.get(word)
    message = {"content": text or content, "refusal": "no" if word == "refused" else None}
    choice = {"message": message, "finish_reason": "length" if word == "truncated" else "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    body = {"model": "m", "choices": [choice], "usage": usage}
    return (
        json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": body}}).encode() + b"\n"
    )


def merge(
    attempts: list[Answers], rows: int, counts: tuple[bool, ...] = (True,) * 9, **options: Any
) -> tuple[list[dict[str, Any]], MergeStats]:
    """Rows r0, r1, ...; an attempt is what each row that it posted came to."""
    ids = [f"r{number}" for number in range(rows)]
    source = io.BytesIO()
    table = pa.table({"n": range(rows)})
    with pa.ipc.new_stream(source, table.schema) as writer:
        writer.write_table(table)
    nothing = pa.nulls(rows, pa.string())
    lines = pa.table({"custom_id": ids, "skip_code": nothing, "skip_message": nothing})
    posted = [
        Attempt(
            (io.BytesIO(b"".join(line(*each) for each in answers.items())),),
            list(answers),
            f"b{number}",
            counts=counts[number],
        )
        for number, answers in enumerate(attempts)
    ]
    sink = io.BytesIO()
    options = {"checker": CHECKER, **options}
    parser = ResultParser("/v1/chat/completions")
    stats = merge_chunk(io.BytesIO(source.getvalue()), lines, posted, sink, parser=parser, **options)
    return pq.read_table(sink).to_pylist(), stats


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=8),
    st.frozensets(st.sampled_from(["invalid", "truncated", "refused", "transient"])),
    st.data(),
)
def test_only_the_rows_that_are_named_are_asked_and_every_other_keeps_all_of_its_answer(
    first: list[str], on: frozenset[str], data: st.DataObject
) -> None:
    before = {f"r{number}": word for number, word in enumerate(first)}
    rows, stats = merge([before], len(first), retry_on=on)
    named = on | {"billing"}
    assert list(stats.to_ask) == [row for row, word in before.items() if word in named]
    assert stats.unanswered == stats.to_ask
    assert stats.unpaid == first.count("billing")
    second = {row: data.draw(st.sampled_from(WORDS)) for row in stats.to_ask}
    again, after = merge([before, second], len(first), retry_on=on)
    assert [row for row in again if row["llm_custom_id"] not in second] == [
        row for row in rows if row["llm_custom_id"] not in second
    ]
    for row in again:
        words = (before[row["llm_custom_id"]], second.get(row["llm_custom_id"]))
        if "succeeded" in words:
            assert row["llm_status"] == "succeeded"
        elif any(word in ("invalid", "truncated", "refused") for word in words):
            assert row["llm_status"] in words, "an answer beats an error"
    assert set(after.to_ask) <= set(second)


@pytest.mark.parametrize(
    ("attempts", "status", "batch"),
    [
        (["invalid", "succeeded"], "succeeded", "b1"),
        (["invalid", "invalid"], "invalid", "b1"),
        (["truncated", "truncated"], "truncated", "b1"),
        (["truncated", "transient"], "truncated", "b0"),
        (["refused", "billing"], "refused", "b0"),
        (["succeeded", "succeeded"], "succeeded", "b0"),
        (["succeeded", "invalid"], "succeeded", "b0"),
    ],
)
def test_the_first_good_answer_stands_else_the_latest(attempts: list[str], status: str, batch: str) -> None:
    rows, _ = merge([{"r0": word} for word in attempts], 1)
    assert (rows[0]["llm_status"], rows[0]["llm_batch_id"]) == (status, batch)


@pytest.mark.parametrize(
    ("words", "counts", "asked", "attempts"),
    [
        (["invalid", "invalid"], (True, True), (), 2),
        (["invalid", "invalid"], (True, False), ("r0",), 2),
        (["invalid", "billing"], (True, True), ("r0",), 1),
        (["billing", "billing", "billing"], (True, True, True), ("r0",), 0),
        (["billing", "invalid", "invalid"], (True, True, True), (), 2),
        (["request"], (True,), (), 1),
    ],
)
def test_a_row_is_asked_as_often_as_it_may_be_and_what_was_not_paid_does_not_count(
    words: list[str], counts: tuple[bool, ...], asked: tuple[str, ...], attempts: int
) -> None:
    rows, stats = merge([{"r0": word} for word in words], 1, counts, retry_on={"invalid"}, max_attempts=2)
    assert stats.to_ask == asked
    assert rows[0]["llm_attempts"] == attempts
    assert bool(stats.unpaid) == (words[-1] == "billing")


def test_a_batch_that_the_account_could_not_pay_for_is_no_attempt_of_the_rows_it_left() -> None:
    source = io.BytesIO()
    with pa.ipc.new_stream(source, pa.schema([("n", pa.int64())])) as writer:
        writer.write_table(pa.table({"n": [0, 1]}))
    nothing = pa.nulls(2, pa.string())
    lines = pa.table({"custom_id": ["r0", "r1"], "skip_code": nothing, "skip_message": nothing})
    failed = Attempt((io.BytesIO(line("r0", "succeeded")),), None, "b0", ("billing_refused", "Pay."))
    sink = io.BytesIO()
    stats = merge_chunk(
        io.BytesIO(source.getvalue()),
        lines,
        [failed],
        sink,
        parser=ResultParser("/v1/chat/completions"),
        retry_on=(),
        max_attempts=1,
    )
    assert (stats.to_ask, stats.unpaid) == (("r1",), 1)
    assert pq.read_table(sink)["llm_attempts"].to_pylist() == [1, 0]


def test_a_vector_of_another_size_gives_way_to_one_of_the_right_size() -> None:
    def vector(size: int) -> bytes:
        body = {"model": "m", "data": [{"embedding": [0.5] * size}], "usage": {"prompt_tokens": 1}}
        response = {"status_code": 200, "body": body}
        return json.dumps({"custom_id": "r0", "response": response, "error": None}).encode() + b"\n"

    source = io.BytesIO()
    with pa.ipc.new_stream(source, pa.schema([("n", pa.int64())])) as writer:
        writer.write_table(pa.table({"n": [0]}))
    nothing = pa.nulls(1, pa.string())
    lines = pa.table({"custom_id": ["r0"], "skip_code": nothing, "skip_message": nothing})
    attempts = [Attempt((io.BytesIO(vector(size)),), ["r0"], f"b{size}") for size in (3, 2)]
    sink = io.BytesIO()
    parser = ResultParser("/v1/embeddings")
    merge_chunk(
        io.BytesIO(source.getvalue()), lines, attempts, sink, parser=parser, answer_column=VectorColumn(2)
    )
    assert pq.read_table(sink).to_pylist()[0]["llm_batch_id"] == "b2"
