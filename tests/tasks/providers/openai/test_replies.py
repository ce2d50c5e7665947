"""What services of OpenAI's protocol have been seen to reply, and what Nightmail makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from configs.errors import LostReply, QueueFull, TerminalError, TransientError
from rigs.scripted_openai import Calls, ScriptedOpenAI
from tasks.providers.base import BatchStatus, Submission
from tasks.providers.openai.replies import batch_of, page_of, record_of, records_since
from tasks.providers.times import time_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (NOON.timestamp(), NOON),
        (int(NOON.timestamp()), NOON),
        ("2026-11-22T12:00:00Z", NOON),
        ("2026-11-22T21:00:00+09:00", NOON),
        ("2026-11-22T12:00:00", NOON),
        (str(int(NOON.timestamp())), NOON),
        (None, None),
        (0, None),
        ("soon", None),
        (True, None),
        (1e300, None),
        ({}, None),
    ],
)
def test_times_are_unix_seconds_or_iso(value: object, read: datetime | None) -> None:
    assert time_of(value) == read


ROW = {"id": "b-1"}


@pytest.mark.parametrize(
    ("reply", "rows", "more"),
    [
        ({"object": "list", "data": [ROW], "has_more": True}, [ROW], True),
        ({"data": [ROW], "has_more": False}, [ROW], False),
        ({"data": [ROW]}, [ROW], None),
        ({"value": [ROW], "has_more": False}, [ROW], False),
        ({"data": None, "has_more": False}, [], False),
        ({"data": [None, "x", ROW]}, [ROW], None),
        ([ROW], [ROW], None),
        ({}, [], None),
        ("none", [], None),
    ],
)
def test_a_page_is_read_in_every_shape(reply: object, rows: list[Any], more: bool | None) -> None:
    assert page_of(json.dumps(reply).encode()) == (rows, more)


@pytest.mark.parametrize("reply", [b"", b"<html>", b"{}", b'"x"', b"null", b'{"data":"x"}', b'{"cut":'])
def test_a_reply_that_is_no_list_is_not_an_empty_one_unless_there_may_be_none(reply: bytes) -> None:
    with pytest.raises(TransientError, match="no list"):
        list(records_since(lambda _: reply, lambda: 0))
    assert list(records_since(lambda _: reply, lambda: 0, optional=True)) == []


@pytest.mark.parametrize("reply", [b"", b"<html>", b"[]", b'"x"', b"null"])
def test_a_reply_that_is_no_object_is_an_empty_one(reply: bytes) -> None:
    assert record_of(reply) == {}


def test_a_batch_in_a_wrapper_is_taken_out_of_it() -> None:
    job = {"id": "b", "status": "VALIDATING", "created_at": "2026-11-22T01:00:00Z"}
    assert (
        batch_of(record_of(json.dumps({"job": job, "warning": None}).encode())).status is BatchStatus.QUEUED
    )


@pytest.mark.parametrize(
    ("raw", "code", "message", "line"),
    [
        ({"data": [{"code": "c", "message": "m", "line": 3}]}, "c", "m", 3),
        ([{"code": "c", "message": "m", "line": None}], "c", "m", None),
        (["m"], "batch_failed", "m", None),
        ("m", "batch_failed", "m", None),
        ({"data": None}, "batch_failed", None, None),
        ({"code": 3}, "batch_failed", None, None),
        (None, "batch_failed", None, None),
    ],
)
def test_the_reason_of_a_failed_batch_is_read_in_every_shape(
    raw: object, code: str, message: str | None, line: int | None
) -> None:
    found = batch_of({"id": "b", "status": "FAILED", "errors": raw})
    assert (found.error_code, found.error_message, found.error_line) == (code, message, line)


class Pages:
    """A list of (id, created_at) served two a page, as one kind of service does it."""

    def __init__(
        self, rows: list[tuple[str, Any]], *, ignores_after: bool = False, says_more: bool = True
    ) -> None:
        self.rows = [{"id": name, "created_at": made} for name, made in rows]
        self.ignores_after = ignores_after
        self.says_more = says_more
        self.calls = 0

    def __call__(self, after: str | None) -> bytes:
        self.calls += 1
        names = [row["id"] for row in self.rows]
        start = 0 if after is None or self.ignores_after else names.index(after) + 1
        page = self.rows[start : start + 2]
        more = {"has_more": start + 2 < len(self.rows)} if self.says_more else {}
        return json.dumps({"data": page, **more}).encode()


NEWEST_FIRST = [(f"b-{age}", 100 - age) for age in range(9)]


@pytest.mark.parametrize(
    ("pages", "found", "calls"),
    [
        (Pages(NEWEST_FIRST), ["b-0", "b-1", "b-2", "b-3"], 2),
        (Pages(NEWEST_FIRST, says_more=False), ["b-0", "b-1", "b-2", "b-3"], 2),
        (Pages(NEWEST_FIRST[::-1]), [name for name, _ in NEWEST_FIRST[::-1]], 5),
        (Pages([(name, None) for name, _ in NEWEST_FIRST[:3]]), ["b-0", "b-1", "b-2"], 2),
        (Pages(NEWEST_FIRST[:3], ignores_after=True, says_more=False), ["b-0", "b-1"], 2),
        (Pages(NEWEST_FIRST[:2], says_more=False), ["b-0", "b-1"], 2),
        (Pages([]), [], 1),
    ],
    ids=["newest first", "no has_more", "oldest first", "no times", "after ignored", "short", "none"],
)
def test_paging_ends_and_misses_nothing_records_since(pages: Pages, found: list[str], calls: int) -> None:
    assert [row["id"] for row in records_since(pages, lambda: 98)] == found
    assert pages.calls == calls


def test_a_list_that_has_more_and_does_not_go_on_is_no_proof_that_a_batch_is_not_there() -> None:
    found = records_since(Pages(NEWEST_FIRST[:3], ignores_after=True), lambda: 98)
    assert [next(found)["id"], next(found)["id"]] == ["b-0", "b-1"]
    with pytest.raises(TerminalError, match="first page"):
        next(found)


@pytest.mark.parametrize("name", ["create", "upload"])
@pytest.mark.parametrize("body", [b"<html>", {}, {"id": None}, {"id": ""}, []])
def test_a_creating_call_whose_reply_names_nothing_is_lost(
    scripted: ScriptedOpenAI, calls: Calls, name: str, body: object
) -> None:
    scripted.body = body
    with pytest.raises(LostReply, match="names no id"):
        calls[name](scripted.service())


def test_a_batch_that_cannot_be_read_is_looked_at_again(scripted: ScriptedOpenAI, calls: Calls) -> None:
    scripted.body = b"<html>"
    with pytest.raises(TransientError, match="names no id"):
        calls["retrieve"](scripted.service())


def test_a_reply_is_read_under_any_content_type(scripted: ScriptedOpenAI, calls: Calls) -> None:
    scripted.body, scripted.headers = (
        {"id": "batch_1", "status": "in_progress"},
        {"content-type": "text/plain"},
    )
    assert calls["retrieve"](scripted.service()).status is BatchStatus.RUNNING


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "The number of files exceeds the limit of your account.", QueueFull),
        (403, "File quota exceeded.", QueueFull),
        (400, "Storage limit reached.", QueueFull),
        (400, "Exceeded maximum: you have too many files.", QueueFull),
        (400, "Batch input file is larger than the 209715200 maximum.", TerminalError),
        (400, "The file size exceeds the limit of 500 MB.", TerminalError),
        (400, "Invalid file format.", TerminalError),
    ],
)
def test_a_full_file_store_is_waited_for_and_says_what_to_do(
    scripted: ScriptedOpenAI, calls: Calls, status: int, message: str, error: type[Exception]
) -> None:
    scripted.status, scripted.body = status, {"error": {"message": message}}
    with pytest.raises(error) as caught:
        calls["upload"](scripted.service(store="the account's file store (10 files)"))
    assert type(caught.value) is error
    assert ("`nightmail clean`" in str(caught.value)) == (error is QueueFull)


def test_a_batch_in_a_list_of_another_shape_is_adopted(scripted: ScriptedOpenAI, calls: Calls) -> None:
    made = {"id": "b", "status": "validating", "created_at": 2e9, "metadata": {"nightmail_key": "abc/1/1"}}
    scripted.body = {"value": [made], "has_more": False}
    assert calls["find"](scripted.service()).id == "b"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("The number of unfinished tasks exceeds the limit (1000).", QueueFull),
        ("Too many active batches.", QueueFull),
        ("You have reached the maximum number of concurrent jobs.", QueueFull),
        ("Invalid value for 'endpoint'.", TerminalError),
        ("Model m is not supported in batches.", TerminalError),
        ("completion_window exceeds what is allowed.", TerminalError),
    ],
)
def test_a_service_with_too_many_batches_is_waited_for(
    scripted: ScriptedOpenAI, calls: Calls, message: str, error: type[Exception]
) -> None:
    scripted.status, scripted.body = 400, {"error": {"message": message}}
    with pytest.raises(error) as caught:
        calls["create"](scripted.service())
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"input_file_id": "file-1"}, True),
        ({"input_file_id": "file-1", "metadata": {"theirs": "x"}}, True),
        ({"input_file_id": "file-1", "metadata": {"nightmail_key": "other/1/1"}}, False),
        ({"input_file_id": "file-1", "id": "earlier"}, False),
        ({"input_file_id": "file-2"}, False),
        ({}, False),
    ],
)
def test_where_no_metadata_is_kept_a_batch_is_known_by_its_file(
    scripted: ScriptedOpenAI, submission: Submission, values: dict[str, Any], found: bool
) -> None:
    batch = {"id": "b", "status": "validating", "created_at": 2e9, "metadata": None, **values}
    scripted.body = {"data": [batch], "has_more": False}
    ours = replace(submission, file_id="file-1", known_batch_ids=frozenset({"earlier"}))
    assert (scripted.service().find(ours, NOON) is not None) == found
