"""OpenAI's Files API, through the genuine SDK."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import FileObject

from rigs.batch_service import BatchService, StartBatchService

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'


def upload(client: OpenAI, data: bytes = LINE, name: str = "a.jsonl", **options: Any) -> FileObject:
    return client.files.create(file=(name, data), **{"purpose": "batch", **options})


def test_a_file_comes_back_as_it_was_uploaded(client: OpenAI) -> None:
    data = LINE * 3 + "\u2028\r\x00 no newline at the end".encode()
    file = upload(client, data)
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(data), "a.jsonl", "batch")
    assert (file.status, file.expires_at - file.created_at) == ("processed", 30 * 86_400)
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == data


def test_content_can_be_streamed(client: OpenAI) -> None:
    data = LINE * 50_000
    file = upload(client, data)
    with client.files.with_streaming_response.content(file.id) as reply:
        assert b"".join(reply.iter_bytes()) == data


def test_retention_can_be_shorter(client: OpenAI) -> None:
    file = upload(client, expires_after={"anchor": "created_at", "seconds": 3_600})
    assert file.expires_at - file.created_at == 3_600


def test_other_purposes_are_kept_for_good_and_not_checked(client: OpenAI) -> None:
    file = upload(client, b"anything", "notes.txt", purpose="user_data")
    assert (file.expires_at, file.purpose) == (None, "user_data")


@pytest.mark.parametrize(
    ("data", "name", "options", "param"),
    [
        (b"", "a.jsonl", {}, "file"),
        (b"not json\nat all\n", "a.jsonl", {}, "file"),
        (b"1\n2\n", "a.jsonl", {}, "file"),
        (LINE, "a.json", {}, "file"),
        (LINE, "a.jsonl", {"purpose": "batch_output"}, "purpose"),
        (LINE, "a.jsonl", {"expires_after": {"anchor": "now", "seconds": 3_600}}, "expires_after.anchor"),
        (
            LINE,
            "a.jsonl",
            {"expires_after": {"anchor": "created_at", "seconds": 3_599}},
            "expires_after.seconds",
        ),
    ],
)
def test_a_wrong_upload_is_refused(
    client: OpenAI, data: bytes, name: str, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, data, name, **options)
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")


def test_one_good_line_is_enough_to_upload(client: OpenAI) -> None:
    assert upload(client, b"garbage\n" + LINE).bytes == len(LINE) + 8


def test_a_deleted_file_is_gone(client: OpenAI) -> None:
    file = upload(client)
    gone = client.files.delete(file.id)
    assert (gone.id, gone.deleted) == (file.id, True)
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file.id)


def test_lists_are_paged_in_both_orders_and_by_purpose(batch_service: StartBatchService) -> None:
    client = batch_service().client()
    ids = [upload(client).id for _ in range(5)]
    upload(client, b"x", "x.txt", purpose="user_data")
    assert [file.id for file in client.files.list(limit=2, order="asc", purpose="batch")] == ids
    assert [file.id for file in client.files.list(limit=2, purpose="batch")] == ids[::-1]
    assert len(list(client.files.list())) == 6
    page = client.files.list(limit=5)
    assert (len(page.data), page.has_more) == (5, True)


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 10_001}, {"after": "file-nobody"}])
def test_a_wrong_page_is_refused(client: OpenAI, options: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.files.list(**options)


def test_unknown_addresses_are_told_so(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.list()
    assert "Invalid URL" in str(caught.value)


def test_another_host_name_is_refused(service: BatchService) -> None:
    with pytest.raises(openai.BadRequestError):
        service.client(default_headers={"host": "evil.example"}).files.list()


def test_a_file_expires(batch_service: StartBatchService) -> None:
    import sqlite3

    service = batch_service()
    client = service.client()
    kept, expired = upload(client), upload(client)
    service.kill()
    with sqlite3.connect(service.folder / "state.db") as db:
        db.execute("UPDATE files SET expires_at = ? WHERE id = ?", (int(time.time()) - 1, expired.id))
    db.close()
    service.start()
    client = service.client()
    assert [file.id for file in client.files.list()] == [kept.id]
    assert [path.name for path in (service.folder / "files").iterdir()] == [kept.id]
