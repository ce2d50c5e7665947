"""OpenAI's protocol as the provider speaks and understands it: every kind of refusal, and what it leaves open."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from configs.errors import (
    ConfigError,
    LostReply,
    NightmailError,
    NotFound,
    TerminalError,
    TransientError,
    UnreliableReply,
)
from configs.home import Home
from configs.providers.local import LocalProvider
from configs.providers.openai import OpenAIProvider
from rigs import batch_service
from rigs.batch_service import BatchService
from rigs.scripted_openai import ScriptedOpenAI
from tasks.providers.base import BatchStatus, Submission
from tasks.providers.openai import local, openai
from tasks.providers.openai.compatible import (
    KEEP_SECONDS,
    KEY,
    OpenAICompatible,
    ServiceQuirks,
    connect_with_key,
)

HOME = Home.from_environment({})
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SUBMISSION = Submission(
    key="abc/1/1",
    file_name="nightmail-abc-1-1.jsonl",
    endpoint="/v1/chat/completions",
    model="m",
    completion_window="24h",
    requests=1,
    lines=lambda: io.BytesIO(b"{}\n"),
    metadata={"job": "letters"},
)
Call = Callable[[OpenAICompatible], Any]

CREATING: dict[str, Call] = {
    "upload": lambda service: service.upload("a.jsonl", io.BytesIO(b"{}\n")),
    "create": lambda service: service.create(SUBMISSION, "file-1"),
}
READING: dict[str, Call] = {
    "retrieve": lambda service: service.retrieve("batch_1"),
    "find": lambda service: service.find(SUBMISSION, LONG_AGO),
    "list_batches": lambda service: list(service.list_batches(LONG_AGO)),
    "list_files": lambda service: list(service.list_files()),
    "find_upload": lambda service: service.find_upload("a.jsonl", LONG_AGO),
    "download": lambda service: service.download("file-1", io.BytesIO()),
    "download_video": lambda service: service.download_video("video_1", io.BytesIO()),
    "cancel": lambda service: service.cancel("batch_1"),
    "delete_file": lambda service: service.delete_file("file-1"),
}


def raised(call: Call, service: OpenAICompatible) -> NightmailError:
    with pytest.raises(NightmailError) as caught:
        call(service)
    assert "\n" not in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    return caught.value


def told(status: int, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": f"Told to answer {status}.", "type": "x", "param": None, "code": code}}


@pytest.mark.parametrize("name", [*CREATING, *READING])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, TerminalError),
        (401, ConfigError),
        (403, ConfigError),
        (404, NotFound),
        (413, TerminalError),
        (422, TerminalError),
        (429, TransientError),
    ],
)
def test_a_refusal_is_what_the_caller_can_do_about_it(
    scripted: ScriptedOpenAI, name: str, status: int, error: type[NightmailError]
) -> None:
    if status == 404 and name in ("list_files", "find_upload", "delete_file"):
        return  # no error there: see below
    scripted.status, scripted.body = status, told(status, "some_code")
    found = raised((CREATING | READING)[name], scripted.service())
    assert type(found) is error
    assert f"HTTP {status}: Told to answer {status}." in str(found)
    if error is ConfigError:
        assert "check the key in TEST_KEY" in str(found)
    if isinstance(found, TerminalError):
        assert found.code == "some_code"


@pytest.mark.parametrize("name", ["upload", "create", "retrieve", "list_batches"])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "²"}, None),
    ],
)
def test_429_says_how_long_to_wait_when_the_service_does(
    scripted: ScriptedOpenAI, name: str, headers: dict[str, str], seconds: float | None
) -> None:
    scripted.status, scripted.body, scripted.headers = 429, told(429), headers
    found = raised((CREATING | READING)[name], scripted.service())
    assert type(found) is TransientError
    assert found.retry_after_seconds == seconds


def fails_with_500(scripted: ScriptedOpenAI) -> None:
    scripted.status, scripted.body = 500, told(500)


def fails_with_html(scripted: ScriptedOpenAI) -> None:
    scripted.status, scripted.body = 502, b"<html>\n<h1>Bad Gateway</h1>\n</html>"
    scripted.headers = {"content-type": "text/html"}


def drops_the_connection(scripted: ScriptedOpenAI) -> None:
    scripted.drop = True


@pytest.mark.parametrize("name", [*CREATING, *READING])
@pytest.mark.parametrize("breaks", [fails_with_500, fails_with_html, drops_the_connection])
def test_a_broken_call_that_creates_leaves_open_what_it_did_and_any_other_may_be_repeated(
    scripted: ScriptedOpenAI, name: str, breaks: Callable[[ScriptedOpenAI], None]
) -> None:
    breaks(scripted)
    found = raised((CREATING | READING)[name], scripted.service())
    assert type(found) is (LostReply if name in CREATING else TransientError)


@pytest.mark.parametrize("name", CREATING)
@pytest.mark.parametrize("breaks", [fails_with_500, drops_the_connection])
def test_a_creating_call_is_sent_once_whatever_the_client_would_do(
    scripted: ScriptedOpenAI, name: str, breaks: Callable[[ScriptedOpenAI], None]
) -> None:
    breaks(scripted)
    service = scripted.service()
    service._client = service._client.with_options(max_retries=3)
    raised(CREATING[name], service)
    assert len(scripted.calls) == 1


@pytest.mark.parametrize("name", CREATING)
@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": ""}, {"html": "Welcome"}])
def test_a_reply_that_names_no_id_leaves_open_what_was_created(
    scripted: ScriptedOpenAI, name: str, body: object
) -> None:
    scripted.body = body
    assert type(raised(CREATING[name], scripted.service())) is LostReply


def test_a_file_that_is_gone_is_deleted(scripted: ScriptedOpenAI) -> None:
    scripted.status, scripted.body = 404, told(404)
    scripted.service().delete_file("file-1")


def test_a_batch_that_has_ended_is_cancelled(scripted: ScriptedOpenAI) -> None:
    scripted.status, scripted.body = 409, told(409)
    scripted.service().cancel("batch_1")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_service_that_cannot_list_files_has_none(scripted: ScriptedOpenAI, status: int) -> None:
    scripted.status, scripted.body = status, told(status)
    assert list(scripted.service().list_files()) == []
    assert scripted.service().find_upload("a.jsonl", LONG_AGO) is None


def test_a_service_that_cannot_list_batches_says_so(scripted: ScriptedOpenAI) -> None:
    scripted.status, scripted.body = 405, told(405)
    assert type(raised(READING["find"], scripted.service())) is TerminalError


@pytest.mark.parametrize(("announced", "whole"), [(10, False), (4, True), (None, True)])
def test_a_download_is_whole_or_fails(scripted: ScriptedOpenAI, announced: int | None, whole: bool) -> None:
    scripted.body = b"a\r\nb"
    scripted.headers = {} if announced is None else {"content-length": str(announced)}
    sink = io.BytesIO()
    if whole:
        assert scripted.service().download("file-1", sink) == 4
        assert sink.getvalue() == b"a\r\nb"
    else:
        found = raised(lambda service: service.download("file-1", sink), scripted.service())
        assert type(found) is UnreliableReply


def batch(**values: Any) -> dict[str, Any]:
    return {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": "in_progress",
        "created_at": 1_800_000_000,
        "metadata": {KEY: "abc/1/1"},
        **values,
    }


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("validating", BatchStatus.QUEUED),
        ("queued", BatchStatus.QUEUED),
        ("in_progress", BatchStatus.RUNNING),
        ("IN_PROGRESS", BatchStatus.RUNNING),
        ("finalizing", BatchStatus.FINISHING),
        ("cancelling", BatchStatus.CANCELLING),
        ("canceling", BatchStatus.CANCELLING),
        ("completed", BatchStatus.COMPLETED),
        ("COMPLETED", BatchStatus.COMPLETED),
        ("Failed", BatchStatus.FAILED),
        ("expired", BatchStatus.EXPIRED),
        ("CANCELLED", BatchStatus.CANCELLED),
        ("canceled", BatchStatus.CANCELLED),
        ("scheduling", BatchStatus.RUNNING),
        ("", BatchStatus.RUNNING),
        (None, BatchStatus.RUNNING),
    ],
)
def test_status_words_in_any_case_and_unknown_ones_are_running(
    scripted: ScriptedOpenAI, word: str | None, status: BatchStatus
) -> None:
    scripted.body = batch(status=word)
    assert scripted.service().retrieve("batch_1").status is status


@pytest.mark.parametrize(
    ("counts", "seen"),
    [
        (None, (None, None, None)),
        ({"total": 3, "completed": None, "failed": None}, (3, None, None)),
        ({}, (None, None, None)),
        ({"total": 3, "completed": 2, "failed": 1}, (3, 2, 1)),
    ],
)
def test_counts_are_unknown_where_the_service_does_not_say(
    scripted: ScriptedOpenAI, counts: object, seen: object
) -> None:
    scripted.body = batch(request_counts=counts)
    found = scripted.service().retrieve("batch_1")
    assert (found.total, found.completed, found.failed) == seen


@pytest.mark.parametrize(
    ("values", "files"),
    [
        ({}, ()),
        ({"output_file_id": "o", "error_file_id": "e"}, ("o", "e")),
        ({"output_file_id": None, "error_file_id": "e"}, ("e",)),
        ({"output_file_id": "o", "error_file_id": ""}, ("o",)),
    ],
)
def test_result_files_are_those_that_have_an_id(
    scripted: ScriptedOpenAI, values: dict[str, Any], files: tuple[str, ...]
) -> None:
    scripted.body = batch(**values)
    assert scripted.service().retrieve("batch_1").result_files == files


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "token_limit_exceeded", "message": "Full."}, "token_limit_exceeded"),
        ({"code": "invalid_request", "message": "Cannot find file x."}, "file_not_found"),
        ({"code": "invalid_request", "message": "No.", "param": "file_id"}, "file_not_found"),
        ({"code": "invalid_request", "message": "No."}, "invalid_request"),
        (None, "batch_failed"),
    ],
)
def test_why_a_batch_failed(scripted: ScriptedOpenAI, error: object, code: str) -> None:
    errors = {"object": "list", "data": [error]} if error else None
    scripted.body = batch(status="failed", errors=errors)
    assert scripted.service().retrieve("batch_1").error_code == code


def test_only_batches_with_our_key_are_listed_and_one_is_found_by_its_key_whatever_its_age(
    scripted: ScriptedOpenAI,
) -> None:
    day = 86_400
    scripted.body = {
        "object": "list",
        "has_more": False,
        "data": [
            batch(id="b-3", metadata={KEY: "abc/2/1"}),
            batch(id="b-2", metadata={"theirs": "x"}),
            batch(id="b-1", metadata=None),
            batch(id="b-0", created_at=1_800_000_000 - day),
        ],
    }
    since = datetime.fromtimestamp(1_800_000_000, UTC)
    listed = [(key, found.id) for key, found in scripted.service().list_batches(since)]
    assert listed == [("abc/2/1", "b-3"), ("abc/1/1", "b-0")]
    found = scripted.service().find(SUBMISSION, since)
    assert found is not None
    assert (found.id, found.key) == ("b-0", "abc/1/1")


def through_the_socket(url: str, keep_seconds: int | None) -> OpenAICompatible:
    quirks = ServiceQuirks(keep_uploads_seconds=keep_seconds, keep_results_seconds=keep_seconds)
    return connect_with_key(
        OpenAIProvider(name="openai", base_url=url), {"OPENAI_API_KEY": batch_service.KEY}, quirks
    )


def test_files_are_listed_with_name_and_time_newest_first(shared_batch_service: BatchService) -> None:
    service = through_the_socket(shared_batch_service.url, None)
    began = datetime.now(UTC) - timedelta(seconds=1)
    ids = [service.upload(f"listed-{n}.jsonl", io.BytesIO(b"{}\n")) for n in range(2)]
    found = [file for file in service.list_files(began) if file.name.startswith("listed-")]
    assert [(file.id, file.name) for file in found] == [
        (ids[1], "listed-1.jsonl"),
        (ids[0], "listed-0.jsonl"),
    ]
    assert all(file.created_at and file.created_at >= began.replace(microsecond=0) for file in found)
    assert service.find_upload("listed-0.jsonl", began) == ids[0]
    for file_id in ids:
        service.delete_file(file_id)


@pytest.mark.parametrize("kept", [KEEP_SECONDS, None])
def test_uploads_and_results_are_told_when_to_expire_where_the_service_knows_how(
    shared_batch_service: BatchService, kept: int | None
) -> None:
    service = through_the_socket(shared_batch_service.url, kept)
    line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"x"}]}}\n'
    upload = service.upload("kept.jsonl", io.BytesIO(line))
    made = service.create(SUBMISSION, upload)
    done = shared_batch_service.wait(made.id)
    for file_id in (upload, done.output_file_id):
        file = shared_batch_service.client().files.retrieve(file_id)
        assert file.expires_at - file.created_at == (kept or 30 * 86_400)  # 30 days: the service's own
        service.delete_file(file_id)


@pytest.mark.parametrize("kept", [KEEP_SECONDS, None])
def test_what_is_on_the_wire(scripted: ScriptedOpenAI, kept: int | None) -> None:
    scripted.body = batch()
    service = scripted.service(keep_uploads_seconds=kept, keep_results_seconds=kept)
    for call in CREATING.values():
        call(service)
    for _, path, sent in scripted.calls:
        assert (b"expires_after" in sent) == (kept is not None), path
        assert (b"1209600" in sent) == (kept is not None), path


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        (None, KEEP_SECONDS),
        ("https://api.openai.com/v1", KEEP_SECONDS),
        ("https://api.example.com/v1", None),
        ("http://127.0.0.1:8400/v1", None),
        ("https://api.openai.com.example.com/v1", None),
    ],
)
def test_only_openai_itself_is_asked_to_let_files_expire(
    scripted: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch, base_url: str | None, kept: int | None
) -> None:
    asked = []

    def elsewhere(**options: Any) -> Any:
        asked.append(options["base_url"])
        return scripted.client

    monkeypatch.setattr("openai.OpenAI", elsewhere)
    scripted.body = batch()
    config = OpenAIProvider(name="openai", base_url=base_url)
    CREATING["upload"](openai.connect(config, HOME, {"OPENAI_API_KEY": "k"}))
    assert asked == [base_url or "https://api.openai.com/v1"]
    ((_, _, sent),) = scripted.calls
    assert (b"expires_after" in sent) == (kept is not None)


@pytest.mark.parametrize(("window", "kept"), [("24h", True), ("14d", False), ("30d", False)])
def test_the_embedded_service_keeps_requests_until_a_slow_model_is_done(
    tmp_path: Path, scripted: ScriptedOpenAI, monkeypatch: pytest.MonkeyPatch, window: str, kept: bool
) -> None:
    monkeypatch.setattr(local, "ensure_running", lambda *_, **__: scripted.url)
    scripted.body = batch()
    home = Home.from_environment({"NIGHTMAIL_HOME": str(tmp_path)})
    CREATING["upload"](local.connect(LocalProvider(completion_window=window), home, {}))
    assert (b"expires_after" in scripted.calls[0][2]) == kept
