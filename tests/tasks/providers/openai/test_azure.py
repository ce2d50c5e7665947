"""Azure OpenAI: where it is, how it is asked, and what is odd about its replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.home import Home
from configs.load import load_job
from configs.providers.azure import AzureProvider
from rigs.scripted_openai import Calls, ScriptedOpenAI
from tasks.providers import registry
from tasks.providers.base import BatchService, BatchStatus

HOME = Home.from_environment({})
JOB = """
name: azure
source: {path: rows.csv}
prompt: {model: my-batch-deployment, user: "{{ text }}"}
provider: {name: azure, endpoint: "https://res.openai.azure.com"}
output: {path: out}
"""


def service(scripted: ScriptedOpenAI, **settings: Any) -> BatchService:
    config = AzureProvider(name="azure", endpoint=scripted.url.removesuffix("/v1"), **settings)
    return registry.connect(config, HOME, {"AZURE_OPENAI_API_KEY": "sk-secret"})


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "/openai/v1/batches"),
        ({"api_version": "2024-10-21"}, "/openai/batches?api-version=2024-10-21"),
    ],
)
def test_both_kinds_of_api_are_where_they_should_be(
    scripted: ScriptedOpenAI, calls: Calls, settings: dict[str, Any], path: str
) -> None:
    scripted.body = {"id": "batch_1", "status": "validating"}
    calls["create"](service(scripted, **settings))
    ((_, asked, sent),) = scripted.calls
    assert asked == path
    assert "output_expires_after" not in json.loads(sent)


def test_a_dated_api_is_not_asked_for_what_it_may_not_know(scripted: ScriptedOpenAI, calls: Calls) -> None:
    scripted.body = {"id": "file-1"}
    calls["upload"](service(scripted, api_version="2024-10-21"))
    ((_, path, sent),) = scripted.calls
    assert path == "/openai/files?api-version=2024-10-21"
    assert b"expires_after" not in sent


def test_uploads_expire_so_that_a_resource_holds_more_of_them(scripted: ScriptedOpenAI, calls: Calls) -> None:
    scripted.body = {"id": "file-1"}
    calls["upload"](service(scripted))
    ((_, path, sent),) = scripted.calls
    assert path == "/openai/v1/files"
    assert b"expires_after[anchor]" in sent
    assert b"1209600" in sent  # 14 days, the least it takes


def test_nulls_are_unknown_and_no_reason_to_fail(scripted: ScriptedOpenAI, calls: Calls) -> None:
    scripted.body = {
        "id": "batch_1",
        "endpoint": None,
        "status": "completed",
        "output_file_id": "file-out",
        "error_file_id": "file-err",
        "request_counts": {"total": 3, "completed": None, "failed": None},
        "errors": None,
    }
    found = calls["retrieve"](service(scripted))
    assert found.status is BatchStatus.COMPLETED
    assert (found.total, found.completed, found.failed) == (3, None, None)
    assert found.result_files == ("file-out", "file-err")


def test_a_list_under_another_name_is_read_and_not_taken_for_empty(
    scripted: ScriptedOpenAI, calls: Calls
) -> None:
    mine = {
        "id": "b",
        "status": "validating",
        "created_at": 2_000_000_000,
        "metadata": {"nightmail_key": "abc/1/1"},
    }
    scripted.body = {"value": [mine], "has_more": False}
    assert calls["find"](service(scripted)).id == "b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("prompt.endpoint=/v1/embeddings", "Azure has no /v1/embeddings in batches"),
        ("provider.endpoint=res.openai.azure.com", "provider.endpoint"),
        ("provider.endpoint=https://res.openai.azure.com/openai/v1", "provider.endpoint"),
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
