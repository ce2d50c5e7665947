"""Single HTTP calls gone wrong, as the genuine SDK sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from rigs.batch_service import BatchService


def create_parameters(service: BatchService) -> dict[str, Any]:
    file = service.client().files.create(file=("a.jsonl", b'{"custom_id": "a"}\n'), purpose="batch")
    return {"input_file_id": file.id, "endpoint": "/v1/responses", "completion_window": "24h"}


def paid(service: BatchService, file_id: str) -> int:
    count: int = service.stats()["batches_by_input_file"].get(file_id, 0)
    return count


@pytest.mark.parametrize(("action", "batches"), [("drop_reply", 1), ("reset_before", 0)])
def test_a_create_whose_reply_is_lost_may_have_worked(
    service: BatchService, action: str, batches: int
) -> None:
    parameters = create_parameters(service)
    service.fault("create", action)
    with pytest.raises(openai.APIConnectionError):
        service.client().batches.create(**parameters)
    assert paid(service, parameters["input_file_id"]) == batches


def test_the_sdks_own_retries_pay_three_times(service: BatchService) -> None:
    parameters = create_parameters(service)
    service.fault("create", "drop_reply", times=2)
    service.client(max_retries=2).batches.create(**parameters)
    assert paid(service, parameters["input_file_id"]) == 3


CALLS: dict[str, Callable[[Any, str, str], Any]] = {
    "upload": lambda client, file, batch: client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch"),
    "retrieve": lambda client, file, batch: client.batches.retrieve(batch),
    "list": lambda client, file, batch: client.batches.list(),
    "cancel": lambda client, file, batch: client.batches.cancel(batch),
    "content": lambda client, file, batch: client.files.content(file),
    "delete": lambda client, file, batch: client.files.delete(file),
}


@pytest.mark.parametrize("op", CALLS)
def test_every_operation_can_be_broken_once_and_skipped(service: BatchService, op: str) -> None:
    client = service.client()
    parameters = create_parameters(service)
    file, batch = parameters["input_file_id"], service.submit([service.chat("a")], "stuck:in_progress").id
    for action, error in (
        ("reset_before", openai.APIConnectionError),
        ("status:502", openai.InternalServerError),
    ):
        service.fault(op, action, skip=1)
        if op != "delete":
            CALLS[op](client, file, batch)
        else:
            client.files.delete(create_parameters(service)["input_file_id"])
        with pytest.raises(error):
            CALLS[op](client, file, batch)
    CALLS[op](client, file, batch)
    client.batches.cancel(batch)


def test_a_lost_reply_to_an_upload_leaves_a_file(service: BatchService) -> None:
    before = len(service.stats()["files"])
    service.fault("upload", "drop_reply")
    with pytest.raises(openai.APIConnectionError):
        service.client().files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert len(service.stats()["files"]) == before + 1


def test_a_large_upload_can_be_reset_in_the_middle(service: BatchService) -> None:
    service.fault("upload", "reset_before")
    with pytest.raises(openai.APIConnectionError):
        service.client().files.create(file=("a.jsonl", b"{}\n" * 3_000_000), purpose="batch")


def test_rate_limits_and_html_pages_are_told_as_such(service: BatchService) -> None:
    client = service.client()
    service.fault("list", "status:429", retry_after=7)
    with pytest.raises(openai.RateLimitError) as limited:
        client.batches.list()
    assert limited.value.response.headers["retry-after"] == "7"
    service.fault("list", "status:502", html=True)
    with pytest.raises(openai.InternalServerError) as broken:
        client.batches.list()
    assert "<html>" in broken.value.response.text


def test_a_download_can_break_off(service: BatchService) -> None:
    client = service.client()
    data = b'{"a": 1}\n' * 100_000
    file = client.files.create(file=("a.jsonl", data), purpose="batch")
    service.fault("content", "close_midway", times=2)
    got: list[bytes] = []
    streaming = client.files.with_streaming_response.content(file.id)
    with streaming as reply, pytest.raises(httpx2.RemoteProtocolError):
        got.extend(reply.iter_bytes())
    assert 0 < sum(map(len, got)) < len(data)
    with pytest.raises(openai.APIConnectionError):
        client.files.content(file.id)
    assert client.files.content(file.id).content == data


def test_a_reply_can_be_late(service: BatchService) -> None:
    service.fault("list", "delay:5")
    with pytest.raises(openai.APITimeoutError):
        service.client(timeout=0.1).batches.list()


def test_faults_can_be_taken_back_and_nonsense_is_refused(service: BatchService) -> None:
    service.fault("list", "status:500", times=100)
    service.forgive()
    assert service.client().batches.list().object == "list"
    for wrong in ({"op": "nope", "action": "drop_reply"}, {"op": "list", "action": "explode"}, [], {}):
        with pytest.raises(OSError, match="400"):
            service.call("POST", "/_faults", wrong)


def test_what_was_paid_is_counted(service: BatchService) -> None:
    before = service.stats()
    service.run([service.chat("a"), service.chat("b")], metadata={"submission_key": "counted-here"})
    after = service.stats()
    assert after["batches_by_metadata"]["submission_key"]["counted-here"] == 1
    assert (after["batches"] - before["batches"], after["rows_completed"] - before["rows_completed"]) == (
        1,
        2,
    )
    assert after["requests"]["create"] - before["requests"].get("create", 0) == 1
