"""A job means the same whether it was read from its file or from the ledger."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.job import Job, Source
from configs.load import identity
from configs.prompt import Prompt
from tasks.stages.read import open_dataset

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, UTC])),
)
_SOURCES = st.fixed_dictionaries(
    {"path": st.sampled_from(["a.csv", "a.tsv", "{date}/b.parquet"])},
    optional={
        "format": st.sampled_from(["auto", "csv", "parquet", "jsonl"]),
        "key": st.sampled_from(["id", ["id", "name"]]),
        "columns": st.lists(st.sampled_from(["id", "name"])),
        "where": st.lists(
            st.one_of(
                st.tuples(st.just("id"), st.sampled_from(["==", "<"]), _VALUES),
                st.tuples(st.just("id"), st.just("in"), st.lists(_VALUES)),
            ),
            max_size=2,
        ),
        "limit": st.integers(1, 9),
        "types": st.dictionaries(st.sampled_from(["id", "name"]), st.sampled_from(["int64", "date"])),
        "bad_lines": st.sampled_from(["error", "skip", "fill"]),
        "csv": st.fixed_dictionaries(
            {},
            optional={
                "delimiter": st.sampled_from([None, ",", ";", "\t"]),
                "quote": st.sampled_from(['"', "'"]),
                "escape": st.sampled_from([None, "\\"]),
                "encoding": st.sampled_from(["utf-8", "cp1252"]),
                "skip_lines": st.integers(0, 3),
            },
        ),
    },
)


def job_of(source: dict[str, Any]) -> Job:
    return Job.model_validate(
        {"name": "j", "source": source, "prompt": {"model": "m", "user": "x"}, "output": {"path": "out"}}
    )


def recorded(job: Job) -> Job:
    """The job as the ledger gives it back."""
    return Job.model_validate(json.loads(json.dumps(job.model_dump(mode="json", by_alias=True))))


@settings(max_examples=200)
@given(_SOURCES)
def test_a_recorded_job_is_the_job(source: dict[str, Any]) -> None:
    job = job_of(source)
    assert recorded(job) == job
    assert repr(recorded(job).source) == repr(job.source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ending=st.sampled_from(["csv", "tsv"]),
    csv=st.fixed_dictionaries(
        {},
        optional={
            "delimiter": st.sampled_from([",", "\t"]),
            "quote": st.just("'"),
            "escape": st.just("\\"),
            "encoding": st.just("latin-1"),
            "skip_lines": st.just(1),
        },
    ),
    bad_lines=st.sampled_from(["error", "skip", "fill"]),
)
def test_a_recorded_job_reads_the_same_rows(
    tmp_path: Path, ending: str, csv: dict[str, Any], bad_lines: str
) -> None:
    file = tmp_path / f"a.{ending}"
    file.write_text("id\tname,x\n\"1\"\t2,'y'\n3\t4,\\a\n")
    job = job_of(
        {
            "path": str(file),
            "csv": {"delimiter": ",", **csv} if ending == "csv" else csv,
            "bad_lines": bad_lines,
        }
    )
    assert rows_of(job.source) == rows_of(recorded(job).source)


@pytest.mark.parametrize("value", [date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), float("inf")])
def test_a_value_to_compare_with_is_what_the_ledger_can_hold(value: object) -> None:
    source = Source(path="a", where=[("a", "in", [value])])  # type: ignore[arg-type]
    assert Source.model_validate(json.loads(source.model_dump_json())) == source
    assert source.where[0][2] != [None]


def rows_of(source: Source) -> list[Any]:
    return [row for batch in open_dataset(source).batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("description", ["x" * 501, "a\x1b[31m", "a\u202eb"])
def test_a_description_is_a_line_that_can_be_shown(description: str) -> None:
    with pytest.raises(ValidationError, match="description"):
        Job.model_validate({**job_of({"path": "a.csv"}).model_dump(), "description": description})


@pytest.mark.parametrize(
    ("prompt", "include", "problem"),
    [
        ({"endpoint": "/v1/embeddings"}, ["logprobs"], "output.include: /v1/embeddings has no logprobs"),
        (
            {"endpoint": "/v1/completions"},
            ["logprobs", "citations"],
            "output.include: /v1/completions has no citations",
        ),
        ({"params": {"n": 2}}, ["raw", "reasoning"], "reasoning of several answers a row"),
        ({}, ["thoughts"], "include"),
    ],
)
def test_columns_that_nobody_can_give_are_refused(
    prompt: dict[str, Any], include: list[str], problem: str
) -> None:
    tree = {"name": "j", "source": {"path": "x"}, "prompt": {"model": "m", "user": "x", **prompt}}
    with pytest.raises(ValidationError, match=problem):
        Job.model_validate({**tree, "output": {"path": "out", "include": include}})
    job = Job.model_validate({**tree, "output": {"path": "out", "include": ["raw", "raw"]}})
    assert job.output.include == ("raw",)
    assert "include" in identity(job)["output"]
    without = Job.model_validate({**tree, "output": {"path": "out"}})
    assert "include" not in identity(without)["output"], "as in runs from before there was such a key"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"user": "x"}, "give either messages_from, or user or messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, "give either messages_from, or user or messages"),
        ({"cache": "mark"}, "share no beginning that can be marked"),
        ({"endpoint": "/v1/embeddings"}, "messages_from does not exist at /v1/embeddings"),
    ],
)
def test_a_column_of_messages_is_the_one_way_to_ask(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Prompt.model_validate({"model": "m", "messages_from": "said", **more})
    assert Prompt.model_validate({"model": "m", "messages_from": "said", "system": "Be brief."})
