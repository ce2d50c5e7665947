"""Merging: every row once, in order, with the right line's answer, and an account that adds up."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, IntegrityError
from configs.prompt import Prompt
from tasks.stages.answers.columns import VectorColumn, answer_column_of
from tasks.stages.answers.schema import AnswerChecker, checker_of
from tasks.stages.cost.price import Price
from tasks.stages.merge.merge_chunk import Attempt, MergeStats, merge_chunk, output_schema
from tasks.stages.wire.anthropic.results import parser as anthropic_parser
from tasks.stages.wire.openai.results import ResultParser

CHAT = ResultParser("/v1/chat/completions")
WHOLE, RANGES = {"whole_bytes": 10**9}, {"whole_bytes": 0, "range_bytes": 400}
both_ways = pytest.mark.parametrize("way", [WHOLE, RANGES], ids=["whole", "ranges"])


def answered(custom_id: str, text: str = "hi", reason: str = "stop", tokens: int | None = 10) -> bytes:
    usage = None if tokens is None else {"prompt_tokens": tokens, "completion_tokens": 1}
    choice = {"message": {"content": text}, "finish_reason": reason}
    body = {"model": "m-1", "choices": [choice], "usage": usage}
    return json.dumps(
        {"id": "b", "custom_id": custom_id, "response": {"status_code": 200, "body": body}}
    ).encode()


def failed(custom_id: str, code: str = "server_error") -> bytes:
    error = {"code": code, "message": f"about {code}"}
    return json.dumps({"id": "b", "custom_id": custom_id, "response": None, "error": error}).encode()


def file(*lines: bytes) -> io.BytesIO:
    return io.BytesIO(b"".join(line + b"\n" for line in lines))


def stream(table: pa.Table, batch_rows: int | None = None) -> io.BytesIO:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return io.BytesIO(sink.getvalue())


def requests(ids: Sequence[str], skipped: dict[str, tuple[str, str]] | None = None) -> pa.Table:
    why = skipped or {}
    return pa.table(
        {
            "custom_id": pa.array(ids, pa.string()),
            "skip_code": pa.array([why.get(each, (None, None))[0] for each in ids], pa.string()),
            "skip_message": pa.array([why.get(each, (None, None))[1] for each in ids], pa.string()),
        }
    )


def source(count: int) -> pa.Table:
    return pa.table(
        {"n": pa.array(range(count), pa.int64()), "t": pa.array([f"text {at}" for at in range(count)])}
    )


def merge(
    attempts: Sequence[Attempt],
    ids: Sequence[str] = ("a", "b", "c"),
    *,
    rows: pa.Table | None = None,
    skipped: dict[str, tuple[str, str]] | None = None,
    **options: Any,
) -> tuple[pa.Table, MergeStats]:
    sink = io.BytesIO()
    given_rows = stream(source(len(ids)) if rows is None else rows)
    options = {"parser": CHAT} | options
    stats = merge_chunk(given_rows, requests(ids, skipped), attempts, sink, **options)
    return pq.read_table(sink), stats


@both_ways
def test_lines_in_any_order_find_their_rows(way: dict[str, int]) -> None:
    ids = [f"id {at}" for at in range(200)]
    lines = [answered(each, f"answer to {each}") for each in ids]
    random.Random(1).shuffle(lines)
    table, stats = merge([Attempt((file(*lines),), batch_id="batch_1")], ids, **way)
    assert table["n"].to_pylist() == list(range(200))
    assert table["llm_answer"].to_pylist() == [f"answer to {each}" for each in ids]
    assert table["llm_custom_id"].to_pylist() == ids
    assert set(table["llm_batch_id"].to_pylist()) == {"batch_1"}
    assert (stats.by_status, stats.unanswered) == ({"succeeded": 200}, ())


@both_ways
def test_of_two_objects_on_one_line_each_finds_its_row(way: dict[str, int]) -> None:
    ids = [f"id {at}" for at in range(20)]
    glued = b"".join(answered(each, f"answer to {each}") for each in ids)
    table, stats = merge([Attempt((file(glued, b"{broken"),), batch_id="batch_1")], ids, **way)
    assert table["llm_answer"].to_pylist() == [f"answer to {each}" for each in ids]
    assert stats.by_status == {"succeeded": 20}


@both_ways
def test_statuses_come_from_the_lines_whichever_file_they_are_in(way: dict[str, int]) -> None:
    attempt = Attempt((file(failed("a"), answered("b", "x", "length")), file(failed("c", "batch_expired"))))
    table, stats = merge(
        [attempt], ["a", "b", "c", "d", "e"], skipped={"e": ("row_too_large", "7 MB")}, **way
    )
    assert table["llm_status"].to_pylist() == ["failed", "truncated", "expired", "missing", "skipped"]
    assert table["llm_error_code"].to_pylist() == [
        "server_error",
        None,
        "batch_expired",
        None,
        "row_too_large",
    ]
    assert table["llm_error_message"].to_pylist()[4] == "7 MB"
    assert table["llm_attempts"].to_pylist() == [1, 1, 1, 1, 0]
    assert stats.unanswered == ("a", "c", "d")
    assert stats.missing == 1
    assert stats.attempts[0].answered == 1, "b: it was cut off, but the model answered"
    assert sum(stats.by_status.values()) == stats.rows == 5


@both_ways
@pytest.mark.parametrize(
    ("first", "second", "status", "batch", "answer"),
    [
        (failed("a"), answered("a", "2"), "succeeded", "b2", "2"),
        (failed("a"), failed("a", "batch_expired"), "expired", "b2", None),
        (failed("a"), None, "failed", "b1", None),
        (None, answered("a", "2"), "succeeded", "b2", "2"),
        (None, None, "missing", "b2", None),
        (answered("a", "1"), answered("a", "2"), "succeeded", "b1", "1"),
        (answered("a", "1"), failed("a"), "succeeded", "b1", "1"),
        (answered("a", "1", "length"), failed("a"), "truncated", "b1", "1"),
    ],
)
def test_an_answer_beats_none_and_a_later_failure_an_earlier_one(
    first: bytes | None,
    second: bytes | None,
    status: str,
    batch: str,
    answer: str | None,
    way: dict[str, int],
) -> None:
    attempts = [
        Attempt((file(*([line] if line else [])),), posted, batch)
        for line, posted, batch in ((first, None, "b1"), (second, {"a"}, "b2"))
    ]
    table, _ = merge(attempts, **way)
    row = table.slice(0, 1).to_pylist()[0]
    assert (row["llm_status"], row["llm_batch_id"], row["llm_answer"]) == (status, batch, answer)
    assert table["llm_attempts"].to_pylist() == [2, 1, 1]


@both_ways
def test_strange_lines_are_counted_and_change_nothing(way: dict[str, int]) -> None:
    lines = [failed("a"), answered("a", "good"), answered("a", "again"), answered("B"), answered("zz"),
             answered("skip"), b"{broken", b"", answered("c")[:-9]]  # fmt: skip
    stray = [answered("b", "not asked for in attempt 2")]
    table, stats = merge(
        [Attempt((file(*lines),)), Attempt((file(*stray),), ["a"])], ["a", "b", "c", "skip"],
        skipped={"skip": ("x", "y")}, **way,
    )  # fmt: skip
    assert table["llm_status"].to_pylist() == ["succeeded", "missing", "failed", "skipped"]
    assert table["llm_error_code"].to_pylist()[2] == "unreadable_line"
    assert table["llm_answer"].to_pylist() == ["good", None, None, None]
    assert (stats.unknown_ids, stats.duplicate_lines, stats.unparsable_lines) == (4, 2, 2)
    assert stats.attempts[0].lines == 8
    assert stats.attempts[0].input_tokens == 40, "every readable line is paid for, a doubled one once"


@pytest.mark.parametrize(
    ("code", "status", "again"),
    [
        ("invalid_json_line", "failed", ()),
        ("token_limit_exceeded", "failed", ("b",)),
        ("batch_expired", "expired", ("b",)),
        ("batch_cancelled", "cancelled", ("b",)),
    ],
)
def test_a_batch_that_failed_as_a_whole_speaks_for_rows_without_a_line(
    code: str, status: str, again: tuple[str, ...]
) -> None:
    attempt = Attempt((file(answered("a")), io.BytesIO()), error=(code, "why"), batch_id="b1")
    table, stats = merge([attempt], ["a", "b"])
    assert table["llm_status"].to_pylist() == ["succeeded", status]
    assert table["llm_error_code"].to_pylist() == [None, code]
    assert table["llm_error_message"].to_pylist() == [None, "why"]
    assert table["llm_batch_id"].to_pylist() == ["b1", "b1"]
    assert stats.unanswered == again
    assert [(each.code, each.rows, each.example) for each in stats.errors] == [(code, 1, "why")]


AWKWARD_IDS = ["", " ", "a b", 'q"', "back\\slash", "日本", "\u2028", "é", "e\u0301", "A", "a", "\x00", "\n"]


@both_ways
def test_ids_are_compared_as_they_are(way: dict[str, int]) -> None:
    table, stats = merge(
        [Attempt((file(*(answered(each, each) for each in AWKWARD_IDS)),))], AWKWARD_IDS, **way
    )
    assert table["llm_answer"].to_pylist() == AWKWARD_IDS
    assert stats.unknown_ids == 0


AWKWARD_TEXTS = ["\u2028", "\u2029", "\u0085", "\r", "\x00", "😀", "日本語", "", "x" * 3000]


@both_ways
def test_answers_are_kept_to_the_byte_without_a_final_newline(way: dict[str, int]) -> None:
    ids = [str(at) for at in range(len(AWKWARD_TEXTS))]
    raw = b"\n".join(answered(each, text) for each, text in zip(ids, AWKWARD_TEXTS, strict=True))
    table, _ = merge([Attempt((io.BytesIO(raw),))], ids, **way)
    assert table["llm_answer"].to_pylist() == AWKWARD_TEXTS


def test_source_columns_pass_untouched_whatever_their_type() -> None:
    rows = pa.table(
        {
            "big": pa.array([2**62, None, 1], pa.int64()),
            "small": pa.array([1, None, 3], pa.int8()),
            "cat": pa.array(["x", None, "x"]).dictionary_encode(),
            "list": pa.array([[1], None, []], pa.list_(pa.int16())),
            "nested": pa.array([{"a": "x" * 99}, None, {"a": None}], pa.struct([("a", pa.string())])),
            "when": pa.array([1, None, 3], pa.timestamp("us", "Asia/Tokyo")),
            "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        }
    ).replace_schema_metadata({"note": "mine"})
    table, _ = merge([Attempt((file(answered("b")),))], rows=rows)
    assert table.select(rows.column_names).equals(rows)
    assert table.schema.metadata == {b"note": b"mine"}


def test_only_carried_columns_come_along_in_source_order() -> None:
    table, _ = merge([Attempt()], carried=["t"], prefix="x_")
    assert table.column_names[:3] == ["t", "x_answer", "x_status"]
    assert table["t"].to_pylist() == ["text 0", "text 1", "text 2"]


@both_ways
def test_what_is_written_has_the_promised_schema(way: dict[str, int]) -> None:
    checker = AnswerChecker({"type": "object", "properties": {"k": {"type": "integer"}}})
    promised = output_schema(source(1).schema, "p_", parsed=checker.type)
    table, _ = merge([Attempt((file(answered("a", '{"k": 1}')),))], prefix="p_", checker=checker, **way)
    assert table.schema.equals(promised)
    assert table.schema.names[2:5] == ["p_answer", "p_parsed", "p_status"]


@both_ways
def test_answers_that_break_the_schema_are_invalid_and_keep_their_text(way: dict[str, int]) -> None:
    checker = AnswerChecker({"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"]})
    lines = [
        answered("a", '{"k": 1}'),
        answered("b", '{"k": "x"}'),
        answered("c", '{"k": 1', "length"),
        failed("d"),
    ]
    table, stats = merge([Attempt((file(*lines),))], ["a", "b", "c", "d"], checker=checker, **way)
    assert table["llm_parsed"].to_pylist() == [{"k": 1}, None, None, None]
    assert table["llm_status"].to_pylist() == ["succeeded", "invalid", "truncated", "failed"]
    assert table["llm_answer"].to_pylist()[1] == '{"k": "x"}'
    assert table["llm_error_code"].to_pylist() == [None, "invalid_answer", None, "server_error"]
    assert table["llm_error_message"].to_pylist()[1].startswith("$.k: ")
    assert stats.unanswered == ("d",)


def test_each_of_many_answers_is_checked_by_itself() -> None:
    checker = AnswerChecker({"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"]})
    ids = [f"r{at}" for at in range(700)]
    wrong, fenced = {0, 255, 256, 511, 699}, {1, 300, 698}
    texts = [f'{{"k": "{at}"}}' if at in wrong else f'{{"k": {at}}}' for at in range(700)]
    texts = [f"```\n{text}\n```" if at in fenced else text for at, text in enumerate(texts)]
    lines = [answered(each, text) for each, text in zip(ids, texts, strict=True)]
    table, _ = merge([Attempt((file(*lines),))], ids, checker=checker)
    assert table["llm_parsed"].to_pylist() == [None if at in wrong else {"k": at} for at in range(700)]
    messages = table["llm_error_message"].to_pylist()
    assert {at for at, text in enumerate(messages) if text} == wrong | fenced
    assert all(messages[at].startswith("$.k: ") and f'"{at}"' in messages[at] for at in wrong)
    assert {at for at, text in enumerate(table["llm_status"].to_pylist()) if text == "invalid"} == wrong


def vector(custom_id: str, *numbers: float) -> bytes:
    body = {"model": "e", "data": [{"embedding": numbers}], "usage": {"prompt_tokens": 2}}
    return json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": body}}).encode()


@both_ways
def test_embeddings_are_vectors_of_one_size_and_another_size_is_invalid(way: dict[str, int]) -> None:
    lines = file(vector("c", 1, 2, 3), vector("a", 0.5, 1), vector("e", 3, 4))
    options = {"parser": ResultParser("/v1/embeddings"), "answer_column": VectorColumn(2), **way}
    table, stats = merge([Attempt((lines,))], ["a", "b", "c", "d", "e"], **options)
    assert table.schema.field("llm_answer").type == pa.list_(pa.float32(), 2)
    assert table["llm_answer"].to_pylist() == [[0.5, 1.0], None, None, None, [3.0, 4.0]]
    assert table["llm_status"].to_pylist() == ["succeeded", "missing", "invalid", "missing", "succeeded"]
    assert table["llm_error_message"][2].as_py() == "the vector has 3 numbers, not 2"
    assert stats.unanswered == ("b", "d")


def test_several_answers_are_each_checked() -> None:
    choices = [{"index": at, "message": {"content": text}, "finish_reason": "stop"}
               for at, text in ((1, '{"k": "x"}'), (0, '{"k": 1}'))]  # fmt: skip
    raw = json.dumps(
        {"custom_id": "a", "response": {"status_code": 200, "body": {"choices": choices}}}
    ).encode()
    prompt = Prompt(
        model="m",
        user="u",
        params={"n": 2},
        schema={"type": "object", "properties": {"k": {"type": "integer"}}},
    )
    options = {
        "parser": ResultParser("/v1/chat/completions", several=True),
        "answer_column": answer_column_of(prompt),
    }
    table, _ = merge([Attempt((file(raw),))], ["a", "b"], checker=checker_of(prompt), **options)
    assert table["llm_answer"].to_pylist() == [['{"k": 1}', '{"k": "x"}'], None]
    assert table["llm_parsed"].to_pylist() == [[{"k": 1}, None], None]
    assert table["llm_status"].to_pylist() == ["invalid", "missing"]
    assert table["llm_error_message"][0].as_py().startswith("answer 2: $.k: ")


@both_ways
def test_what_rows_cost_adds_up_to_what_their_attempts_did(way: dict[str, int]) -> None:
    price = Price(1.0, 2.0, 0.5, "test")
    first = Attempt((file(answered("a", tokens=100), failed("b"), answered("a", tokens=100)),))
    second = Attempt((file(answered("b", tokens=10), answered("x", tokens=10**6)),), ["b"])
    table, stats = merge([first, second], price=price, skipped={"c": ("template_error", "no")}, **way)
    assert table["llm_cost_usd"].to_pylist() == pytest.approx([102e-6, 12e-6, 0.0])
    assert stats.unknown_ids == 1
    table, _ = merge([first, Attempt((file(answered("b", tokens=None)),), ["b"])], price=price, **way)
    assert table["llm_cost_usd"].to_pylist() == pytest.approx([102e-6, None, 0.0])
    table, _ = merge([first], skipped={"c": ("template_error", "no")}, **way)
    assert table["llm_cost_usd"].to_pylist() == [None, None, 0.0]


def test_the_cost_is_per_attempt_and_unknown_when_anything_is() -> None:
    price = Price(1.0, 2.0, 0.5, "test")
    attempts = [
        Attempt((file(answered("a", tokens=100), failed("b")),)),
        Attempt((file(answered("b")),), ["b"]),
    ]
    _, stats = merge(attempts, price=price)
    assert [each.cost_usd for each in stats.attempts] == pytest.approx([102e-6, 12e-6])
    assert stats.cost_usd == pytest.approx(114e-6)
    _, unpriced = merge(attempts)
    assert unpriced.cost_usd is None
    _, silent = merge([Attempt((file(answered("a", tokens=None)),))], price=price)
    assert silent.cost_usd is None
    _, free = merge([Attempt((file(answered("a", tokens=None)),))], price=Price(0, 0, 0, "here"))
    assert free.cost_usd == 0


@pytest.mark.parametrize("prefix", ["t", ""])
def test_an_added_column_may_not_hide_a_source_column(prefix: str) -> None:
    schema = pa.schema([("tanswer", pa.string()), ("status", pa.string())])
    with pytest.raises(ConfigError, match=r"already has a column '(tanswer|status)'; choose another prefix"):
        output_schema(schema, prefix)
    assert "llm_status" in output_schema(schema, "llm_").names
    with pytest.raises(ConfigError, match="no column 'gone'"):
        output_schema(schema, "llm_", carried=["gone"])


@pytest.mark.parametrize(
    ("ids", "rows", "attempts"),
    [
        (["a", "b"], 3, [Attempt()]),
        (["a", "a", "b"], 3, [Attempt()]),
        (["a", "b", "c"], 3, [Attempt(posted=["zz"])]),
    ],
    ids=["another number of rows", "one id twice", "an id from elsewhere"],
)
def test_a_damaged_run_folder_is_an_integrity_error(
    ids: list[str], rows: int, attempts: list[Attempt]
) -> None:
    with pytest.raises(IntegrityError):
        merge(attempts, ids, rows=source(rows))


def test_nothing_posted_and_nothing_there_still_gives_every_row() -> None:
    table, stats = merge([], ["a", "b"], skipped={"b": ("template_error", "x")})
    assert table["llm_status"].to_pylist() == ["missing", "skipped"]
    empty, none = merge([Attempt()], [])
    assert (empty.num_rows, none.rows, none.by_status) == (0, 0, {})
    assert stats.attempts == ()


def test_batches_of_the_source_do_not_have_to_fit_the_ranges() -> None:
    ids = [f"r{at}" for at in range(100)]
    sink = io.BytesIO()
    attempt = Attempt((file(*(answered(each, each * 9) for each in reversed(ids))),))
    rows = stream(source(100), batch_rows=7)
    merge_chunk(rows, requests(ids), [attempt], sink, parser=CHAT, whole_bytes=0, range_bytes=1_000)
    table = pq.read_table(sink)
    assert table["n"].to_pylist() == list(range(100))
    assert table["llm_answer"].to_pylist() == [each * 9 for each in ids]


class _FullDisk(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 2_000:
            raise OSError(28, "No space left on device")
        return super().write(data)


@both_ways
def test_a_full_disk_is_not_swallowed(way: dict[str, int]) -> None:
    ids = [f"r{at}" for at in range(300)]
    attempt = Attempt((file(*(answered(each, each * 9) for each in ids)),))
    with pytest.raises(OSError, match="No space left"):
        merge_chunk(stream(source(300)), requests(ids), [attempt], _FullDisk(), parser=CHAT, **way)


line_kinds = st.sampled_from(["answer", "cut", "fail", "expired", "broken"])


def _line(kind: str, custom_id: str, at: int) -> bytes:
    return {
        "answer": answered(custom_id, f"{custom_id} {at}"),
        "cut": answered(custom_id, f"{custom_id} {at}", "length"),
        "fail": failed(custom_id),
        "expired": failed(custom_id, "batch_expired"),
        "broken": answered(custom_id)[:-5],
    }[kind]


@settings(max_examples=60)
@given(st.lists(st.lists(st.tuples(line_kinds, st.integers(0, 9)), max_size=25), min_size=1, max_size=3))
def test_both_ways_of_merging_agree_and_the_account_adds_up(attempts: list[list[tuple[str, int]]]) -> None:
    ids = [f"r{at}" for at in range(8)]  # r8 and r9 are unknown

    def run(way: dict[str, int]) -> tuple[pa.Table, MergeStats]:
        files = [
            Attempt((file(*(_line(kind, f"r{row}", at) for at, (kind, row) in enumerate(lines))),))
            for lines in attempts
        ]
        return merge(files, ids, **way)

    table, stats = run(WHOLE)
    other, same = run(RANGES)
    assert table.equals(other)
    assert stats == same
    assert table["n"].to_pylist() == list(range(8))
    assert sum(stats.by_status.values()) == 8
    lines = [(kind, row) for lines in attempts for kind, row in lines]
    assert stats.unparsable_lines == sum(kind == "broken" for kind, _ in lines)
    assert stats.unknown_ids == sum(row > 7 for _, row in lines)
    for at, row in enumerate(table.to_pylist()):
        answers = [kind for kind, number in lines if number == at and kind in ("answer", "cut")]
        assert (row["llm_status"] in ("succeeded", "truncated")) == bool(answers)
        assert (row["llm_answer"] is None) == (not answers)


def test_merging_does_not_import_pandas() -> None:
    program = """
import io, sys
import pyarrow as pa
from tasks.stages import arrow_columns as ac
from tasks.stages.answers.schema import AnswerChecker
from tasks.stages.merge.merge_chunk import Attempt, merge_chunk
from tasks.stages.wire.anthropic.results import parser as anthropic_parser
from tasks.stages.wire.openai.results import ResultParser
def column(*values): return ac.strings(values)
sink = io.BytesIO()
with pa.ipc.new_stream(sink, pa.schema([("t", pa.string())])) as writer:
    writer.write_table(pa.table({"t": column("x", "y", "z")}))
lines = pa.table({"custom_id": column("a", "b", "c"), "skip_code": column(None, None, "s"), "skip_message": column(None, None, "m")})
good = b'{"custom_id":"a","response":{"status_code":200,"body":{"model":"m","choices":[{"message":{"content":"{}"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}}}\\n'
checker = AnswerChecker({"type": "object", "properties": {"k": {"type": "integer"}}})
for whole in (0, 10**9):
    attempt = Attempt((io.BytesIO(good),), ["a", "b"], "b", ("batch_expired", None))
    merge_chunk(io.BytesIO(sink.getvalue()), lines, [attempt], io.BytesIO(), parser=ResultParser("/v1/chat/completions"), checker=checker, whole_bytes=whole)
sys.exit("pandas" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@both_ways
def test_rows_that_no_attempt_has_posted_are_asked_whatever_the_reasons_are(way: dict[str, int]) -> None:
    ahead = Attempt((file(answered("a")),), posted=["a"], batch_id="batch_1")
    table, stats = merge([ahead], retry_on=(), **way)
    assert table["llm_status"].to_pylist() == ["succeeded", "cancelled", "cancelled"]
    assert (stats.unanswered, stats.to_ask) == (("b", "c"), ("b", "c"))
    rest = Attempt((file(answered("b")),), posted=["b", "c"], batch_id="batch_2")
    _, stats = merge([ahead, rest], retry_on=(), **way)
    assert (stats.by_status, stats.unanswered, stats.to_ask) == ({"succeeded": 2, "missing": 1}, (), ())


def test_what_estimates_learn_from_are_the_answers_that_say_their_tokens() -> None:
    lines = [answered("a", tokens=10), answered("b", tokens=None), failed("c"), answered("d", tokens=30)]
    _, stats = merge([Attempt((file(*lines),))], ["a", "b", "c", "d"])
    (attempt,) = stats.attempts
    assert (attempt.counted, attempt.input_tokens, attempt.output_p95) == (2, 40, 1)
    assert merge([Attempt((file(failed("a")),))], ["a"])[1].attempts[0].output_p95 is None


def test_a_cache_is_accounted_for_by_what_writing_costs_more_and_reading_less() -> None:
    def message(custom_id: str, written: int, read: int) -> bytes:
        usage = {
            "input_tokens": 10,
            "output_tokens": 1,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
            "cache_creation": {"ephemeral_1h_input_tokens": written},
        }
        content = [{"type": "text", "text": "hi"}]
        answer = {"content": content, "stop_reason": "end_turn", "usage": usage}
        return json.dumps(
            {"custom_id": custom_id, "result": {"type": "succeeded", "message": answer}}
        ).encode()

    lines = [message("a", 1_000, 0), message("b", 0, 1_000), message("c", 0, 1_000)]
    for price, cache, saved in (
        (Price(1.0, 2.0, 0.1, "test", cache_write_1h=2.0), 1_000e-6, 1_800e-6),
        (Price(1.0, 2.0, 0.1, "test"), None, 1_800e-6),
        (None, None, None),
    ):
        _, stats = merge([Attempt((file(*lines),))], parser=anthropic_parser(""), price=price)
        (attempt,) = stats.attempts
        assert attempt.cache.written_tokens == 1_000
        assert attempt.cache.write_usd == (cache if cache is None else pytest.approx(cache))
        assert attempt.cache.saved_usd == (saved if saved is None else pytest.approx(saved))
