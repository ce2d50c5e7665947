"""Alibaba Cloud Model Studio: its labels, regions, windows and limits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.home import Home
from configs.load import load_job
from configs.providers.alibaba import REGION_URLS, AlibabaProvider
from rigs.scripted_openai import Calls, ScriptedOpenAI
from tasks.providers import registry
from tasks.providers.base import BatchService, BatchStatus, Submission
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.openai.results import ResultParser

HOME = Home.from_environment({})
JOB = """
name: alibaba
source: {path: rows.csv}
prompt: {model: qwen-plus, user: "{{ text }}"}
provider: {name: alibaba}
output: {path: out}
"""


def service(scripted: ScriptedOpenAI, **settings: Any) -> BatchService:
    config = AlibabaProvider(name="alibaba", base_url=scripted.url, **settings)
    return registry.connect(config, HOME, {"DASHSCOPE_API_KEY": "sk-secret"})


def test_a_batch_carries_name_and_key_in_the_entries_that_it_keeps(
    scripted: ScriptedOpenAI, calls: Calls
) -> None:
    scripted.body = {"id": "batch_1", "status": "validating"}
    calls["create"](service(scripted))
    ((method, path, sent),) = scripted.calls
    assert (method, path) == ("POST", "/v1/batches")
    assert json.loads(sent) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"ds_name": "letters 2026-11-21", "ds_description": "nightmail abc/1/1"},
    }


@pytest.mark.parametrize(
    ("description", "kept"),
    [("Weekly letters", "nightmail abc/1/1 Weekly letters"), ("手" * 500, "nightmail abc/1/1 " + "手" * 182)],
)
def test_a_description_stands_after_the_key_as_far_as_it_fits(
    scripted: ScriptedOpenAI, submission: Submission, description: str, kept: str
) -> None:
    scripted.body = {"id": "batch_1", "status": "validating"}
    described = replace(submission, metadata={**submission.metadata, "description": description})
    service(scripted).create(described, "file-1")
    assert json.loads(scripted.calls[0][2])["metadata"]["ds_description"] == kept


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"ds_name": "letters", "ds_description": "nightmail abc/1/1 Weekly letters"}, True),
        ({"ds_name": "letters", "ds_description": "nightmail abc/1/11 nightmail abc/1/1"}, False),
        ({"ds_name": "letters", "ds_description": "nightmail abc/1/1"}, True),
        ({"ds_name": "letters", "ds_description": "nightmail abc/1/11"}, False),
        ({"ds_name": "letters", "ds_description": "abc/1/1"}, False),
        ({"ds_name": "abc/1/1"}, False),
        (None, False),
    ],
)
def test_a_batch_is_found_by_its_key(
    scripted: ScriptedOpenAI, calls: Calls, metadata: object, found: bool
) -> None:
    batch = {"id": "batch_1", "status": "in_progress", "created_at": 2_000_000_000, "metadata": metadata}
    scripted.body = {"object": "list", "data": [batch], "has_more": False}
    assert (calls["find"](service(scripted)) is not None) == found


def test_no_batches_at_all_is_a_null(scripted: ScriptedOpenAI, calls: Calls) -> None:
    scripted.body = {"object": "list", "data": None, "has_more": False}
    assert calls["find"](service(scripted)) is None


@pytest.mark.parametrize(
    ("values", "status", "files", "code"),
    [
        ({"status": "in_progress", "expires_at": None}, BatchStatus.RUNNING, (), None),
        (
            {"status": "failed", "errors": {"data": [{"code": "mismatched_test_url", "line": 1, "message": "x"}]}},
            BatchStatus.FAILED,
            (),
            "mismatched_test_url",
        ),
        ({"status": "cancelled", "error_file_id": "file-batch_output-9"}, BatchStatus.CANCELLED,
         ("file-batch_output-9",), None),
    ],
)  # fmt: skip
def test_its_batches_are_read(
    scripted: ScriptedOpenAI,
    calls: Calls,
    values: dict[str, Any],
    status: BatchStatus,
    files: object,
    code: str | None,
) -> None:
    scripted.body = {"id": "batch_1", "output_file_id": None, "error_file_id": None, "errors": None, **values}
    found = calls["retrieve"](service(scripted))
    assert (found.status, found.result_files, found.error_code) == (status, files, code)


def test_failed_rows_in_the_output_file_and_answers_without_a_role_are_what_they_are() -> None:
    lines = [
        {"custom_id": "1", "response": {"status_code": 200, "body": {"model": "qwen-plus",
         "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "你好！"}}],
         "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}}, "error": None},
        {"custom_id": "2", "response": {"status_code": 400, "body": {"error": {"code": "data_inspection_failed",
         "message": "m", "param": None, "type": "data_inspection_failed"}}}, "error": None},
        {"custom_id": "3", "response": None, "error": {"error_code": "Throttling", "error_message": "slow down"}},
        {"custom_id": "4", "response": {"status_code": 500, "body": {}}, "error": None},
    ]  # fmt: skip
    block = b"\n".join(json.dumps(line, ensure_ascii=False).encode() for line in lines)
    found = ResultParser("/v1/chat/completions").parse(block)
    assert [(one.status, one.answer, one.error_code, one.retryable) for one in found] == [
        (RowStatus.SUCCEEDED, "你好！", None, False),
        (RowStatus.REFUSED, None, "data_inspection_failed", False),
        (RowStatus.FAILED, None, "Throttling", True),
        (RowStatus.FAILED, None, "http_500", True),
    ]


@pytest.mark.parametrize("region", ["singapore", "beijing"])
def test_a_region_is_a_place_and_an_account_of_its_own(region: str) -> None:
    config = AlibabaProvider(name="alibaba", region=region)
    found = registry.connect(config, HOME, {"DASHSCOPE_API_KEY": "sk-secret"})
    assert found.account == f"alibaba {REGION_URLS[region]} DASHSCOPE_API_KEY"
    assert REGION_URLS[region].startswith("https://dashscope")


def test_a_missing_key_names_its_variable() -> None:
    with pytest.raises(ConfigError, match="DASHSCOPE_API_KEY"):
        registry.connect(AlibabaProvider(name="alibaba"), HOME, {})


def test_a_refused_key_names_variable_and_region(scripted: ScriptedOpenAI, calls: Calls) -> None:
    scripted.status, scripted.body = 401, {"error": {"message": "Incorrect API key provided."}}
    with pytest.raises(ConfigError, match=r"DASHSCOPE_API_KEY, and that it is for http"):
        calls["retrieve"](service(scripted))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("prompt.endpoint=/v1/responses", "Alibaba has no /v1/responses in batches"),
        ("prompt.params.enable_thinking='{{ hard }}'", "prompt.params.enable_thinking: a batch at Alibaba"),
        ("provider.completion_window=12h", "provider.completion_window: Model Studio takes 24h to 336h"),
        ("provider.completion_window=15d", "provider.completion_window: Model Studio takes 24h to 336h"),
        ("provider.metadata.ds_name=mine", "ds_name is set by Nightmail"),
        ("provider.metadata.team=mine", "team: Model Studio keeps only its own entries"),
        ("provider.region=paris", "provider.region: 'paris' is not known"),
    ],
)
def test_what_it_cannot_do_is_an_error_before_anything_is_posted(
    tmp_path: Path, override: str, said: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    with pytest.raises(ConfigError) as caught:
        load_job(file, [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        "prompt.params.enable_thinking=false",
        "provider.completion_window=336h",
        "provider.completion_window=14d",
        "provider.metadata.ds_batch_finish_callback=https://example.com/done",
        "prompt.endpoint=/v1/embeddings",
    ],
)
def test_what_it_can_do_is_accepted(tmp_path: Path, override: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    load_job(file, [override])


def test_it_is_looked_at_once_a_minute_at_most(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    pace = load_job(file, ["poll.first_seconds=5", "poll.max_seconds=30"]).pace
    assert (pace.first_seconds, pace.max_seconds) == (60, 60)
    assert load_job(file, ["poll.first_seconds=90"]).pace.first_seconds == 90
