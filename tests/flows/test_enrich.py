"""The main job, whole: a dataset in, enriched Parquet out, through the genuine SDK over a socket."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError, InputError
from tasks.stages.answers.columns import MODERATION
from tasks.stages.answers.files import VIDEO

UTC = datetime.UTC


def test_every_row_comes_out_once_in_source_order_with_its_answer(works: Any) -> None:
    works.source(100)
    works.change("limits.max_requests", 7)
    receipt = works.run()
    assert works.column("id") == [f"t-{n}" for n in range(100)]
    assert all(f"word {n}" in answer for n, answer in enumerate(works.column("llm_answer")))
    assert receipt["rows"] == {"total": 100, "succeeded": 100}
    assert receipt["chunks"] == 15
    assert works.paid() == {f"{n}/1": 1 for n in sorted(range(1, 16), key=str)}


def test_nothing_of_ours_is_left_at_the_provider_or_in_progress_on_disk(works: Any) -> None:
    works.change("limits.max_requests", 3)
    before = {file.id for file in works.service.client().files.list()}
    works.run()
    assert {file.id for file in works.service.client().files.list()} == before
    left = [path.name for path in works.folder.rglob("*") if path.suffix in (".part", ".new", ".old")]
    assert left == []


def test_types_of_the_source_survive(works: Any) -> None:
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
    works.source(10, **columns)
    works.run()
    source = pq.read_table(works.folder / "rows.parquet")
    assert works.out.select(source.column_names).cast(source.schema) == source
    assert [works.out.schema.field(name).type for name in columns] == [
        column.type for column in columns.values()
    ]


def test_a_schema_becomes_typed_fields(works: Any) -> None:
    works.change(
        "prompt.schema",
        {
            "type": "object",
            "properties": {"label": {"type": "string", "enum": ["a", "b"]}, "sure": {"type": "number"}},
            "required": ["label", "sure"],
            "additionalProperties": False,
        },
    )
    works.run()
    assert works.out.schema.field("llm_parsed").type == pa.struct(
        [("label", pa.string()), ("sure", pa.float64())]
    )
    for text, fields in zip(works.column("llm_answer"), works.column("llm_parsed"), strict=True):
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
def test_every_endpoint_answers(works: Any, endpoint: str, kind: pa.DataType) -> None:
    works.change("prompt.endpoint", endpoint)
    if endpoint == "/v1/images/edits":
        works.change("prompt.params", {"images": [{"image_url": "https://x.test/{{ id }}.png"}]})
    receipt = works.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert works.out.schema.field("llm_answer").type == kind


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/completions"])
def test_several_answers_a_row_are_a_list(works: Any, endpoint: str) -> None:
    works.change("prompt.endpoint", endpoint)
    works.change("prompt.params", {"n": 2})
    works.run()
    assert works.out.schema.field("llm_answer").type == pa.list_(pa.string())
    assert [len(answers) for answers in works.column("llm_answer")] == [2] * 10


def test_vectors_may_travel_as_base64(works: Any) -> None:
    works.change("prompt.endpoint", "/v1/embeddings")
    works.change("prompt.params", {"encoding_format": "base64", "dimensions": 8})
    works.run()
    packed = works.column("llm_answer")
    works.change("prompt.params", {"dimensions": 8})
    works.run(redo=True)
    assert works.column("llm_answer") == packed
    assert works.out.schema.field("llm_answer").type == pa.list_(pa.float32(), 8)


def test_all_parts_agree_on_the_size_of_vectors_though_one_has_none(works: Any) -> None:
    works.change("prompt.endpoint", "/v1/embeddings")
    works.change("prompt.user", "{{ text }}")
    works.source(6, text=["", "", "a", "b", "c", "d"])
    works.change("limits.max_requests", 2)
    works.run()
    assert works.statuses() == {"failed": 2, "succeeded": 4}
    parts = sorted((works.folder / "out/letters").glob("*.parquet"))
    kinds = [pq.read_schema(part).field("llm_answer").type for part in parts]
    assert kinds == [pa.list_(pa.float32(), 1536)] * 3
    assert [vector and len(vector) for vector in works.column("llm_answer")] == [None, None, *[1536] * 4]


def test_an_output_path_that_ends_in_parquet_is_one_file(works: Any) -> None:
    works.change("output.path", "out/letters.parquet")
    works.change("limits.max_requests", 4)
    works.run()
    assert (works.folder / "out/letters.parquet").is_file()
    assert works.column("id") == [f"t-{n}" for n in range(10)]
    assert json.loads((works.folder / "out/letters.receipt.json").read_text())["chunks"] == 3


def test_the_same_key_again_posts_nothing(works: Any) -> None:
    first = works.run()
    paid = works.paid()
    assert works.run() == first
    assert works.paid() == paid


def test_redo_replaces_the_output_by_a_new_generation(works: Any) -> None:
    works.run()
    works.change("prompt.user", "Shout {{ text }}")
    with pytest.raises(ConfigError, match=r"the job changed since this run began \(prompt\.user\).*--redo"):
        works.run()
    receipt = works.run(redo=True)
    assert receipt["generation"] == 2
    assert "Shout" in works.column("llm_answer")[0]
    assert len(list((works.folder / "out/letters").glob("*.parquet"))) == 1


def test_a_source_that_changes_after_it_was_prepared_does_not_matter(works: Any) -> None:
    works.faults("fail:token_limit_exceeded:1")
    works.source(10)
    works.change("poll.first_seconds", 0.01)

    def vanish(*_: object) -> None:
        (works.folder / "rows.parquet").unlink(missing_ok=True)

    from tasks import advance as steps

    submit = steps._STEPS[steps.Step.SUBMIT]
    steps._STEPS[steps.Step.SUBMIT] = lambda run, chunk: (vanish(), submit(run, chunk))[1]
    try:
        works.run()
    finally:
        steps._STEPS[steps.Step.SUBMIT] = submit
    assert works.column("id") == [f"t-{n}" for n in range(10)]
    assert works.statuses() == {"succeeded": 10}


def test_the_receipt_knows_the_source_and_the_lines_left_out_of_it(works: Any) -> None:
    (works.folder / "rows.csv").write_text("id,text\na,one\nb\nc,three\n")
    works.change("source", {"path": "rows.csv", "key": "id", "bad_lines": "skip"})
    receipt = works.run()
    assert (receipt["rows"]["total"], receipt["bad_lines"]) == (2, 1)
    assert receipt["source_fingerprint"] == works.ledger.latest_run("letters", "k").source_fingerprint != ""
    assert receipt["source_fingerprint"]


def test_rows_that_cannot_be_asked_are_skipped_with_the_reason(works: Any) -> None:
    works.source(4, bad=[b"\xff", None, None, None])
    works.change("prompt.user", "{{ text }} {% if bad %}{{ 1 // 0 }}{% endif %}")
    receipt = works.run()
    assert works.column("llm_status") == ["skipped", "succeeded", "succeeded", "succeeded"]
    assert works.column("llm_error_code")[0] == "template_error"
    assert receipt["rows"] == {"total": 4, "succeeded": 3, "skipped": 1}


def test_a_row_too_large_alone_is_skipped_and_the_rest_goes_on(works: Any) -> None:
    works.source(3, body=["x", "y" * 1000, "z"])
    works.change("prompt.user", "{{ body }}")
    works.change("limits.max_bytes", 400)
    works.run()
    assert works.column("llm_status") == ["succeeded", "skipped", "succeeded"]
    assert "1," in works.column("llm_error_message")[1]


def test_a_run_whose_rows_are_all_skipped_posts_nothing(works: Any) -> None:
    works.change("prompt.user", "{{ 1 // 0 }}{{ text }}")
    receipt = works.run()
    assert receipt["rows"] == {"total": 10, "skipped": 10}
    assert works.paid() == {}


def test_columns_and_where_choose_what_is_read_and_carried(works: Any) -> None:
    works.source(10, n=list(range(10)))
    works.change("source.columns", ["n"])
    works.change("source.where", [["n", ">=", 7]])
    works.run()
    assert works.out.column_names[0] == "n"
    assert "id" not in works.out.column_names
    assert works.column("n") == [7, 8, 9]
    assert works.column("llm_custom_id") == ["t-7", "t-8", "t-9"]


def test_names_of_the_date_work_in_paths_and_prompts(works: Any) -> None:
    works.source(2)
    (works.folder / "rows.parquet").rename(works.folder / "rows-2026-11-05.parquet")
    works.change("source.path", "rows-{date}.parquet")
    works.change("output.path", "out/{year}/{month}/{day}")
    works.change("prompt.user", "On {date}: {{ text }}")
    works.run(key=None, date=datetime.date(2026, 11, 5))
    table = pq.read_table(works.folder / "out/2026/11/05")
    assert "On 2026-11-05: word 0" in table["llm_answer"][0].as_py()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source.path": "nowhere.parquet"}, "nowhere.parquet"),
        ({"source.key": "idd"}, "did you mean"),
        ({"prompt.user": "{{ texd }}"}, "text"),
        ({"prompt.user": "{{ text"}, "prompt.user"),
        ({"output.prefix": "t", "source.key": None}, "already has a column 'text'|prefix"),
        ({"output.path": "taken"}, "was not written by Nightmail"),
        ({"prompt.schema": {"type": "strange"}}, "prompt.schema"),
        ({"provider.api_key_env": "NO_SUCH_KEY"}, "the environment has no NO_SUCH_KEY"),
    ],
)
def test_bad_input_writes_nothing_and_posts_nothing(works: Any, change: dict[str, Any], message: str) -> None:
    if "output.prefix" in change:
        works.source(3, tstatus=["a", "b", "c"])
        message = "tstatus"
    (works.folder / "taken").mkdir()
    (works.folder / "taken/mine.txt").write_text("precious")
    for key, value in change.items():
        works.change(key, value)
    works.write()
    before = sorted(works.folder.rglob("*"))
    with pytest.raises(ConfigError, match=message) as caught:
        works.run()
    assert "\n" not in str(caught.value)
    assert sorted(works.folder.rglob("*")) == before


def test_duplicate_keys_are_named_or_numbered(works: Any) -> None:
    works.source(3, who=["ann", "bob", "ann"])
    works.change("source.key", "who")
    with pytest.raises(InputError, match=r"'ann' in rows 1, 3.*duplicate_keys: number"):
        works.run()
    assert works.ledger.recent_runs() == ()
    assert not list((works.folder / "home/runs").rglob("*.parquet"))
    works.change("source.duplicate_keys", "number")
    works.run()
    assert len(set(works.column("llm_custom_id"))) == 3


def test_the_output_of_another_job_is_left_alone(works: Any) -> None:
    works.run()
    works.change("name", "other")
    with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
        works.run()


def test_a_trial_does_not_replace_what_another_key_published(works: Any) -> None:
    works.run(key="whole")
    with pytest.raises(
        ConfigError, match=r"holds 10 rows of whole, and this run is limited to 3; put \{key\}"
    ):
        works.run(key="trial", limit=3)
    works.run(key="trial", limit=3, overrides=["output.path=out/{key}"])
    assert len(works.column("id")) == 10


def test_a_dry_run_writes_nothing_anywhere(works: Any) -> None:
    works.change("limits.max_requests", 4)
    works.write()
    before = sorted(works.folder.rglob("*"))
    plan = works.run(dry_run=True)
    assert (plan["rows"], plan["chunks"], plan["requests"]) == (10, 3, 10)
    assert "Say word 0" in plan["first_prompt"]
    assert sorted(works.folder.rglob("*")) == before


def test_no_secret_is_written_anywhere(works: Any) -> None:
    works.run()
    for path in works.folder.rglob("*"):
        if path.is_file():
            assert b"sk-secret" not in path.read_bytes(), path
