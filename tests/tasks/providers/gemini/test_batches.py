"""Gemini's API as the provider speaks and understands it, beside what every service must do."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.genai import types

from configs.errors import ConfigError, LostReply, NightmailError, NotFound, TerminalError, TransientError
from configs.home import Home
from configs.providers.gemini import GeminiProvider
from fakes.gemini_fake import KEY, GeminiFake, Refusal
from fakes.loopback import Call, Loopback, Reply
from tasks.providers.base import BatchService, BatchStatus, Submission
from tasks.providers.gemini.replies import service_batch, status_of
from tasks.providers.registry import connect

HOME = Home.from_environment({})
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LINE = b'{"key":"a","request":{"contents":[{"role":"user","parts":[{"text":"x"}]}]}}\n'


@functools.cache  # building the SDK takes longer than most calls
def service(url: str, key: str = KEY, **settings: Any) -> BatchService:
    config = GeminiProvider(name="gemini", base_url=url, api_key_env="TEST_KEY", **settings)
    return connect(config, HOME, {"TEST_KEY": key})


@pytest.fixture
def gemini(gemini_server: GeminiFake) -> BatchService:
    return service(gemini_server.url)


def submission(endpoint: str = "/v1/chat/completions", model: str = "m") -> Submission:
    return Submission(
        key="abc/1/1",
        file_name="nightmail-abc-1-1.jsonl",
        endpoint=endpoint,
        model=model,
        completion_window="48h",
        requests=1,
        lines=lambda: io.BytesIO(LINE),
    )


def raised(call: Callable[[], Any]) -> NightmailError:
    with pytest.raises(NightmailError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("BATCH_STATE_PENDING", BatchStatus.QUEUED),
        ("BATCH_STATE_RUNNING", BatchStatus.RUNNING),
        ("BATCH_STATE_SUCCEEDED", BatchStatus.COMPLETED),
        ("BATCH_STATE_FAILED", BatchStatus.FAILED),
        ("BATCH_STATE_CANCELLED", BatchStatus.CANCELLED),
        ("BATCH_STATE_EXPIRED", BatchStatus.EXPIRED),
        ("JOB_STATE_QUEUED", BatchStatus.QUEUED),
        ("JOB_STATE_CANCELLING", BatchStatus.CANCELLING),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", BatchStatus.COMPLETED),
        ("JOB_STATE_PAUSED", BatchStatus.RUNNING),
        ("JOB_STATE_UPDATING", BatchStatus.RUNNING),
        ("BATCH_STATE_UNSPECIFIED", BatchStatus.RUNNING),
        ("BATCH_STATE_OF_NEXT_YEAR", BatchStatus.RUNNING),
        ("succeeded", BatchStatus.COMPLETED),
        (types.JobState.JOB_STATE_EXPIRED, BatchStatus.EXPIRED),
        ("", BatchStatus.RUNNING),
        (None, BatchStatus.RUNNING),
    ],
)
def test_states_on_the_wire_and_in_the_sdk(state: object, status: BatchStatus) -> None:
    assert status_of(state) is status


def operation(state: str | None = "BATCH_STATE_RUNNING", **more: Any) -> dict[str, Any]:
    metadata = {
        "model": "models/gemini-2.5-flash",
        "displayName": "nightmail/abc/1/1",
        "createTime": "2026-11-22T01:00:00.100Z",
        "batchStats": {"requestCount": "4", "successfulRequestCount": "3", "failedRequestCount": "1"},
        "name": "batches/1",
    } | ({"state": state} if state else {})
    return {"name": "batches/1", "metadata": metadata | more.pop("metadata", {}), **more}


def test_what_an_operation_says() -> None:
    found = service_batch(operation())
    assert (found.id, found.total, found.completed, found.failed) == ("batches/1", 4, 3, 1)
    assert found.expires_at == datetime(2026, 11, 24, 1, 0, 0, 100_000, tzinfo=UTC)
    assert found.result_files == ()


@pytest.mark.parametrize(
    ("raw", "status", "files", "code"),
    [
        (operation("BATCH_STATE_SUCCEEDED", metadata={"output": {"responsesFile": "files/batch-1"}}),
         BatchStatus.COMPLETED, ("files/batch-1",), None),
        (operation("BATCH_STATE_SUCCEEDED", response={"responsesFile": "files/batch-1"}),
         BatchStatus.COMPLETED, ("files/batch-1",), None),
        (operation(None, done=True, response={"output": {"responsesFile": "files/batch-1"}}),
         BatchStatus.COMPLETED, ("files/batch-1",), None),
        (operation("BATCH_STATE_CANCELLED", metadata={"output": {"responsesFile": "files/batch-1"}},
                   error={"code": 1, "message": "m"}), BatchStatus.CANCELLED, ("files/batch-1",), None),
        (operation("BATCH_STATE_EXPIRED", done=True, error={"code": 4, "message": "m"}), BatchStatus.EXPIRED, (), None),
        (operation("BATCH_STATE_FAILED", done=True, error={"code": 3, "message": "m"}),
         BatchStatus.FAILED, (), "INVALID_ARGUMENT"),
        (operation("BATCH_STATE_FAILED", error={"code": 8, "message": "m"}), BatchStatus.FAILED, (), "token_limit_exceeded"),
        (operation("BATCH_STATE_FAILED", error={"code": 5, "message": "m"}), BatchStatus.FAILED, (), "file_not_found"),
        (operation("BATCH_STATE_FAILED"), BatchStatus.FAILED, (), "batch_failed"),
        (operation(None, done=True, error={"code": 13, "message": "m"}), BatchStatus.FAILED, (), "INTERNAL"),
        (operation(None, done=True, error={"code": 1, "message": "m"}), BatchStatus.CANCELLED, (), None),
        (operation(None, done=True, error={"code": 4, "message": "m"}), BatchStatus.EXPIRED, (), None),
        ({"name": "batches/1"}, BatchStatus.RUNNING, (), None),
    ],
)  # fmt: skip
def test_how_an_operation_ended(
    raw: dict[str, Any], status: BatchStatus, files: tuple[str, ...], code: str | None
) -> None:
    found = service_batch(raw)
    assert (found.status, found.result_files, found.error_code) == (status, files, code)


def test_counts_that_google_leaves_out_are_zero_and_without_any_unknown() -> None:
    some = service_batch(operation(metadata={"batchStats": {"requestCount": "4"}}))
    assert (some.total, some.completed, some.failed) == (4, 0, 0)
    none = service_batch({"name": "batches/1", "metadata": {"createTime": "soon"}})
    assert (none.total, none.completed, none.failed, none.expires_at) == (None, None, None, None)


def test_what_is_on_the_wire(gemini: BatchService, gemini_server: GeminiFake) -> None:
    file_id = gemini.upload("nightmail-abc-1-1.jsonl", io.BytesIO(LINE))
    made = gemini.create(submission(), file_id)
    [start, data, create] = gemini_server.calls
    assert start.headers["x-goog-upload-header-content-type"] == "application/json"
    assert start.headers["x-goog-api-key"] == KEY
    assert data.headers["x-goog-api-key"] is None
    assert data.body == LINE
    assert create.path == "/v1/models/m:batchGenerateContent"
    assert json.loads(create.body) == {
        "batch": {"displayName": "nightmail/abc/1/1", "inputConfig": {"fileName": file_id}}
    }
    assert "key=" not in "".join(str(call.query) for call in gemini_server.calls)
    assert made.expires_at - datetime.now(UTC) > timedelta(hours=47)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"job": "letters", "run": "k"}, "nightmail/abc/1/1 letters k"),
        ({"job": "letters", "run": "k", "description": "Weekly"}, "nightmail/abc/1/1 letters k: Weekly"),
        (
            {"description": "nightmail/x/1/1 " * 30},
            ("nightmail/abc/1/1 " + "nightmail/x/1/1 " * 30)[:128].rstrip(),
        ),
    ],
)
def test_a_display_name_is_for_people_after_the_key_that_finds_it(
    gemini: BatchService, gemini_server: GeminiFake, metadata: dict[str, str], name: str
) -> None:
    labelled = replace(submission(), metadata=metadata)
    made = gemini.create(labelled, gemini.upload("a.jsonl", io.BytesIO(LINE)))
    assert json.loads(gemini_server.calls[-1].body)["batch"]["displayName"] == name
    found = gemini.find(labelled, datetime.now(UTC))
    assert found is not None
    assert (found.id, found.key) == (made.id, "abc/1/1")


def test_embeddings_have_a_call_of_their_own(
    gemini: BatchService, gemini_server: GeminiFake, recwarn: pytest.WarningsRecorder
) -> None:
    file_id = gemini.upload("a.jsonl", io.BytesIO(LINE))
    gemini.create(submission("/v1/embeddings"), file_id)
    assert gemini_server.calls[-1].path == "/v1/models/m:asyncBatchEmbedContent"
    assert not [warning for warning in recwarn if "experimental" in str(warning.message)]


def test_the_api_version_is_a_setting(gemini_server: GeminiFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v7")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "somebody-elses")
    beta = service(gemini_server.url, api_version="v1beta")
    file_id = beta.upload("a.jsonl", io.BytesIO(LINE))
    beta.retrieve(beta.create(submission(), file_id).id)
    paths = [call.path for call in gemini_server.calls]
    assert all("/v1beta/" in path for path in (paths[0], paths[2], paths[3]))
    assert {call.headers["x-goog-api-key"] for call in gemini_server.calls} == {KEY, None}


def test_a_large_file_is_sent_in_pieces_that_fit_into_memory(
    gemini: BatchService, gemini_server: GeminiFake
) -> None:
    size = 20_000_000

    class Watched(io.BytesIO):
        largest = 0

        def read(self, amount: int | None = -1, /) -> bytes:
            block = super().read(amount)
            self.largest = max(self.largest, len(block))
            return block

    file = Watched(b"x" * size)
    file_id = gemini.upload("big.jsonl", file)
    assert len(gemini_server.files[file_id].content) == size
    assert file.largest <= 8 << 20


@pytest.mark.parametrize(("times", "stored"), [(1, 1), (3, 0)])
def test_a_piece_of_an_upload_is_sent_again_into_the_same_file(
    gemini: BatchService, gemini_server: GeminiFake, monkeypatch: pytest.MonkeyPatch, times: int, stored: int
) -> None:
    monkeypatch.setattr("google.genai._api_client.INITIAL_RETRY_DELAY", 0)
    gemini_server.fault("upload", "status:503", times=times)
    if stored:
        gemini.upload("a.jsonl", io.BytesIO(LINE))
    else:
        assert type(raised(lambda: gemini.upload("a.jsonl", io.BytesIO(LINE)))) is LostReply
    assert [file.content for file in gemini_server.uploads()] == [LINE] * stored


def test_the_newest_of_several_uploads_is_found_in_whatever_order_they_are_listed(
    gemini: BatchService, gemini_server: GeminiFake
) -> None:
    ids = [gemini.upload("same.jsonl", io.BytesIO(LINE)) for _ in range(3)]
    for age, file_id in enumerate(ids):
        gemini_server.files[file_id].created -= timedelta(hours=age)
    assert gemini.find_upload("same.jsonl", LONG_AGO) == ids[0]
    del gemini_server.files[ids[0]]
    assert gemini.find_upload("same.jsonl", datetime.now(UTC)) == ids[1]


def test_batches_are_found_over_many_pages_ours_alone_and_newest_first(
    gemini: BatchService, gemini_server: GeminiFake
) -> None:
    gemini_server.hold = True
    file_id = gemini.upload("a.jsonl", io.BytesIO(LINE))
    for n in range(250):
        gemini_server.batches.update({f"batches/{n}": _batch(n)})
    mine = list(gemini.list_batches(LONG_AGO))
    assert len(mine) == 125
    assert [key for key, _ in mine[:2]] == ["abc/1/0", "abc/1/2"]
    assert len(list(gemini.list_batches(datetime.now(UTC) - timedelta(hours=5)))) == 15  # and a day's margin
    assert gemini_server.seen["list"] == 6
    assert file_id


def _batch(n: int) -> Any:
    from fakes.gemini_fake import Batch

    name = f"nightmail/abc/1/{n}" if n % 2 == 0 else f"somebody's {n}"
    return Batch(f"batches/{n}", name, "m", False, [LINE], datetime.now(UTC) - timedelta(hours=n))


def test_results_that_google_cannot_delete_are_left_to_expire_and_uploads_are_deleted(
    gemini: BatchService, gemini_server: GeminiFake
) -> None:
    file_id = gemini.upload("a.jsonl", io.BytesIO(LINE))
    made = gemini.create(submission(), file_id)
    gemini_server.end(made.id)
    [results] = gemini.retrieve(made.id).result_files
    gemini.delete_file(results)
    assert results in gemini_server.files
    gemini.delete_file(file_id)
    gemini.delete_file(file_id)
    assert gemini_server.uploads() == []


def test_a_file_that_is_gone_is_not_a_matter_of_the_key(gemini: BatchService) -> None:
    found = raised(lambda: gemini.create(submission(), "files/gone"))
    assert type(found) is NotFound
    assert "may not exist" in str(found)


def test_a_model_that_is_not_offered_in_batches_is_named(gemini: BatchService) -> None:
    file_id = gemini.upload("a.jsonl", io.BytesIO(LINE))
    found = raised(lambda: gemini.create(submission(model="no-such-model"), file_id))
    assert "models/no-such-model is not found" in str(found)


def test_a_full_queue_says_how_long_to_wait(gemini: BatchService, gemini_server: GeminiFake) -> None:
    gemini_server.hold = True
    file_id = gemini.upload("a.jsonl", io.BytesIO(LINE))
    gemini_server.batches.update({f"batches/{n}": _batch(n) for n in range(100)})
    found = raised(lambda: gemini.create(submission(), file_id))
    assert type(found) is TransientError
    assert found.retry_after_seconds == 37


class Scripted(Loopback):
    """Answers every call with one reply."""

    routes = (("GET", ".*", "any"), ("POST", ".*", "any"), ("DELETE", ".*", "any"))

    def forget(self) -> None:
        super().forget()
        self.reply = Reply({})

    def on_any(self, call: Call) -> Reply:
        return self.reply


@pytest.fixture(scope="module")
def _scripted() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.close()


@pytest.fixture
def scripted(_scripted: Scripted) -> Scripted:
    _scripted.forget()
    return _scripted


CREATING: dict[str, Callable[[Any], Any]] = {
    "upload": lambda made: made.upload("a.jsonl", io.BytesIO(LINE)),
    "create": lambda made: made.create(submission(), "files/1"),
}
READING: dict[str, Callable[[Any], Any]] = {
    "retrieve": lambda made: made.retrieve("batches/1"),
    "find": lambda made: made.find(submission(), LONG_AGO),
    "list_files": lambda made: list(made.list_files()),
    "download": lambda made: made.download("files/batch-1", io.BytesIO()),
    "cancel": lambda made: made.cancel("batches/1"),
    "delete_file": lambda made: made.delete_file("files/1"),
}


@pytest.mark.parametrize("name", [*CREATING, *READING])
@pytest.mark.parametrize(
    ("status", "word", "error"),
    [
        (400, "INVALID_ARGUMENT", TerminalError),
        (401, "UNAUTHENTICATED", ConfigError),
        (403, "PERMISSION_DENIED", ConfigError),
        (404, "NOT_FOUND", NotFound),
        (413, "", TerminalError),
        (429, "RESOURCE_EXHAUSTED", TransientError),
    ],
)
def test_a_refusal_is_what_the_caller_can_do_about_it(
    scripted: Scripted, name: str, status: int, word: str, error: type[NightmailError]
) -> None:
    if (name, status) == ("delete_file", 404):
        return  # it is gone
    scripted.reply = Refusal(status, f"Told to answer\n{status}.", name=word).reply
    found = raised(lambda: (CREATING | READING)[name](service(scripted.url)))
    assert type(found) is error
    assert f"HTTP {status}: Told to answer {status}." in str(found)
    if error is ConfigError:
        assert "check the key in TEST_KEY" in str(found)


@pytest.mark.parametrize("name", [*CREATING, *READING])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>\nWelcome</html>", headers={"content-type": "text/html"}),
        Reply(b"<html>\nBad Gateway</html>", 502, {"content-type": "text/html"}),
        Reply(b"", 302, {"location": "/elsewhere?loop"}),
    ],
)
def test_a_page_of_a_proxy_says_nothing_about_what_was_done(
    scripted: Scripted, name: str, reply: Reply
) -> None:
    if reply.status == 200 and name in ("download", "cancel", "delete_file"):
        return  # whatever comes is the file; the others need no reply
    scripted.reply = reply
    found = raised(lambda: (CREATING | READING)[name](service(scripted.url)))
    assert type(found) is (LostReply if name in CREATING else TransientError)


@pytest.mark.parametrize("name", CREATING)
@pytest.mark.parametrize("body", [{}, {"name": None}, {"name": ""}, {"metadata": {}}, []])
def test_a_reply_that_names_nothing_leaves_open_what_was_created(
    scripted: Scripted, name: str, body: object
) -> None:
    scripted.reply = Reply(body)
    assert type(raised(lambda: CREATING[name](service(scripted.url)))) is LostReply


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({}, [], None),
        ({"retry-after": "7"}, [], 7.0),
        ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}], 37.0),
        ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.25s"}], 0.25),
        ({}, [{"@type": "type.googleapis.com/google.rpc.Help"}, "x", None], None),
        ({"retry-after-ms": "250"}, [], 0.25),
        ({"retry-after": "²"}, [{"retryDelay": "37s"}], 37.0),
        ({}, [{"retryDelay": "-1s"}, {"retryDelay": None}, {"retryDelay": "NaNs"}], None),
    ],
)
@pytest.mark.parametrize("name", ["upload", "create", "retrieve", "list_files"])
def test_429_says_how_long_to_wait(
    scripted: Scripted, name: str, headers: dict[str, str], details: list[Any], seconds: float | None
) -> None:
    scripted.reply = Refusal(429, "Slow down.", details=details).reply
    scripted.reply.headers.update(headers)
    found = raised(lambda: (CREATING | READING)[name](service(scripted.url)))
    assert found.retry_after_seconds == seconds  # type: ignore[attr-defined]


def test_the_key_in_an_error_text_is_not_repeated(scripted: Scripted) -> None:
    scripted.reply = Refusal(403, f"Key {KEY} is disabled.").reply
    assert "[key] is disabled" in str(raised(lambda: service(scripted.url).retrieve("batches/1")))


def test_a_redirect_to_another_host_gets_no_key(scripted: Scripted) -> None:
    elsewhere = GeminiFake()
    try:
        scripted.reply = Reply(b"", 307, {"location": f"{elsewhere.url}/v1/files/batch-1:download?alt=media"})
        raised(lambda: service(scripted.url).download("files/batch-1", io.BytesIO()))
        assert scripted.calls[0].headers["x-goog-api-key"] == KEY
        assert [call.headers["x-goog-api-key"] for call in elsewhere.calls] == [None]
    finally:
        elsewhere.close()
