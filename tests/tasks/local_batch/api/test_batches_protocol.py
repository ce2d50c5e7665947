"""OpenAI's Batches API, through the genuine SDK."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

import openai
import pytest
from openai import OpenAI

from rigs.batch_service import BatchService

ENDPOINTS = [
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
]


def test_a_batch_runs_to_its_end(service: BatchService) -> None:
    lines = [service.chat(f"row-{number}", f"text {number}") for number in range(700)]
    created = service.submit(lines, metadata={"submission_key": "k1"})
    assert (created.object, created.status, created.endpoint) == (
        "batch",
        "validating",
        "/v1/chat/completions",
    )
    assert (created.expires_at - created.created_at, created.output_file_id) == (86_400, None)

    batch = service.wait(created.id)
    assert batch.status == "completed"
    assert (batch.errors, batch.error_file_id, batch.model) == (None, None, "m")
    assert batch.metadata == {"submission_key": "k1"}
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        700,
        700,
        0,
    )
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at

    results = service.results(batch.output_file_id)
    ids = [line["custom_id"] for line in results]
    assert ids != [line["custom_id"] for line in lines], "real outputs are not in order either"
    answers = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in results
    }
    assert answers == {f"row-{number}": f"Echo: text {number}" for number in range(700)}
    used = sum(line["response"]["body"]["usage"]["total_tokens"] for line in results)
    assert batch.usage.total_tokens == used
    assert batch.usage.input_tokens + batch.usage.output_tokens == used
    file = service.client().files.retrieve(batch.output_file_id)
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")


def test_result_lines_have_the_published_shape(service: BatchService) -> None:
    good, bad = service.chat("good"), service.chat("bad", n="many")
    batch = service.run([good, bad])
    (line,) = service.results(batch.output_file_id)
    (error,) = service.results(batch.error_file_id)
    for result in (line, error):
        assert list(result) == ["id", "custom_id", "response", "error"]
        assert result["id"].startswith("batch_req_")
        assert list(result["response"]) == ["status_code", "request_id", "body"]
        assert result["error"] is None
    assert error["response"]["status_code"] == 400
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)


def test_without_one_success_there_is_no_output_file(service: BatchService) -> None:
    batch = service.run([service.chat("bad", n="many")])
    assert (batch.status, batch.output_file_id, batch.request_counts.failed) == ("completed", None, 1)
    assert batch.error_file_id


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint_is_accepted_and_a_missing_file_found_out_later(
    service: BatchService, endpoint: str
) -> None:
    client = service.client()
    created = client.batches.create(input_file_id="file-nobody", endpoint=endpoint, completion_window="24h")
    batch = service.wait(created.id)
    (error,) = batch.errors.data
    assert (batch.status, error.code, error.param, error.line) == (
        "failed",
        "invalid_request",
        "file_id",
        None,
    )
    assert error.message.startswith("Cannot find file file-nobody")
    assert (batch.request_counts.total, batch.output_file_id, batch.error_file_id) == (0, None, None)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/nope"}, "endpoint"),
        ({"completion_window": "tomorrow"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata." + "k" * 65),
        ({"metadata": {"k": "x" * 513}}, "metadata.k"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
def test_wrong_parameters_are_refused(client: OpenAI, changes: dict[str, Any], param: str) -> None:
    parameters = {
        "input_file_id": "file-x",
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
        **changes,
    }
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**parameters)
    assert caught.value.param == param


def test_metadata_may_be_as_large_as_published(client: OpenAI) -> None:
    metadata = {f"{number:064}": "x" * 512 for number in range(16)}
    created = client.batches.create(
        input_file_id="file-x", endpoint="/v1/embeddings", completion_window="48h", metadata=metadata
    )
    assert created.metadata == metadata


def test_results_may_be_kept_for_a_shorter_time(service: BatchService) -> None:
    batch = service.run([service.chat("a")], output_expires_after={"anchor": "created_at", "seconds": 3_600})
    file = service.client().files.retrieve(batch.output_file_id)
    assert file.expires_at - file.created_at == 3_600


def test_a_file_with_bad_lines_fails_as_a_whole_and_names_them(service: BatchService) -> None:
    good = json.dumps(service.chat("a")).encode()
    no_messages = json.dumps({**service.chat("b"), "body": {"model": "m"}}).encode()
    batch = service.run(b"\n".join([good, b"{broken", no_messages, good]) + b"\n")
    assert batch.status == "failed"
    assert batch.failed_at >= batch.created_at
    assert [(error.line, error.code, error.param) for error in batch.errors.data] == [
        (2, "invalid_json_line", None),
        (3, "missing_required_parameter", "body.messages"),
        (4, "duplicate_custom_id", "custom_id"),
    ]
    assert (batch.request_counts.total, batch.in_progress_at, batch.output_file_id) == (0, None, None)


def test_the_endpoint_must_be_the_one_on_the_lines(service: BatchService) -> None:
    batch = service.run([service.chat("a")], endpoint="/v1/responses")
    assert [error.code for error in batch.errors.data] == ["invalid_url"]


def test_a_file_of_another_purpose_is_no_input(service: BatchService) -> None:
    client = service.client()
    file = client.files.create(file=("a.jsonl", b"{}\n"), purpose="user_data")
    created = client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    assert service.wait(created.id).errors.data[0].code == "invalid_request"


def test_50001_lines_fail_and_50000_succeed(service: BatchService) -> None:
    head, tail = json.dumps(service.chat("@")).encode().split(b"@")
    lines = [b"%b%d%b" % (head, number, tail) for number in range(50_001)]
    failed = service.run(b"\n".join(lines))
    assert (failed.status, failed.errors.data[0].code, failed.errors.data[0].line) == (
        "failed",
        "too_many_tasks",
        None,
    )
    batch = service.run(b"\n".join(lines[:-1]))
    assert (batch.status, batch.request_counts.completed) == ("completed", 50_000)
    ids = re.findall(rb'"custom_id":"(\d+)"', service.content(batch.output_file_id))
    assert sorted(map(int, ids)) == list(range(50_000))


def test_batches_are_listed_newest_first_page_by_page(client: OpenAI) -> None:
    parameters = {"input_file_id": "file-x", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    ids = [client.batches.create(**parameters).id for _ in range(25)]
    page = client.batches.list()
    assert (len(page.data), page.has_more, page.last_id) == (20, True, ids[5])
    assert [batch.id for batch in islice(client.batches.list(limit=7), 25)] == ids[::-1]
    assert [batch.id for batch in client.batches.list(after=ids[2], limit=100).data][:2] == ids[1::-1]


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 101}, {"after": "batch_nobody"}])
def test_a_wrong_page_of_batches_is_refused(client: OpenAI, options: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.batches.list(**options)


def test_an_unknown_batch_is_not_found(client: OpenAI) -> None:
    for call in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            call("batch_nobody")
        assert "batch_nobody" in str(caught.value)


def test_what_ended_cannot_be_cancelled_unless_it_was(service: BatchService) -> None:
    client = service.client()
    completed = service.run([service.chat("a")])
    failed = service.run([service.chat("a"), service.chat("a")])
    for batch in (completed, failed):
        with pytest.raises(openai.ConflictError) as caught:
            client.batches.cancel(batch.id)
        assert f"Cannot cancel a batch with status '{batch.status}'." in str(caught.value)
    stuck = service.submit([service.chat("a")], "stuck:validating")
    client.batches.cancel(stuck.id)
    cancelled = service.wait(stuck.id)
    assert (cancelled.status, cancelled.output_file_id, cancelled.error_file_id) == ("cancelled", None, None)
    assert client.batches.cancel(stuck.id).status == "cancelled"


def test_deleting_the_input_does_not_touch_a_running_batch(service: BatchService) -> None:
    created = service.submit([service.chat("a")], "stuck:in_progress")
    service.wait(created.id, lambda batch: batch.status == "in_progress")
    client = service.client()
    client.files.delete(created.input_file_id)
    client.batches.cancel(created.id)
    batch = service.wait(created.id)
    assert [line["error"]["code"] for line in service.results(batch.error_file_id)] == ["batch_cancelled"]


def test_health_names_the_service(service: BatchService) -> None:
    health = service.call("GET", "/health")
    assert (health["service"], health["pid"]) == ("nightmail-local-batch", service.process.pid)
    assert health["answering"]["upstream"] is None
