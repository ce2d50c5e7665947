"""What is Anthropic's alone: requests that go with the batch, results at a URL, batches that carry nothing of ours."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from configs.errors import BillingRefused, LostReply, NotFound, TerminalError, TransientError
from configs.home import Home
from configs.providers.anthropic import AnthropicProvider
from fakes.anthropic_fake import KEY, AnthropicFake
from fakes.loopback import Reply
from tasks.providers.anthropic import batches
from tasks.providers.anthropic.replies import as_array
from tasks.providers.base import BatchService, BatchStatus, Submission
from tasks.providers.registry import connect

HOME = Home.from_environment({})


def settings(url: str | None, **more: Any) -> AnthropicProvider:
    return AnthropicProvider(name="anthropic", base_url=url, api_key_env="TEST_KEY", **more)


@pytest.fixture(scope="session")
def _anthropic(session_anthropic_server: AnthropicFake) -> BatchService:
    made: Any = connect(settings(session_anthropic_server.url), HOME, {"TEST_KEY": KEY})
    made._client = made._client.with_options(max_retries=0)
    return made


@pytest.fixture
def service(_anthropic: BatchService, anthropic_server: AnthropicFake) -> BatchService:
    """The service over a fake that holds its batches until told."""
    anthropic_server.hold = True
    return _anthropic


def line(custom_id: str, text: str = "x") -> bytes:
    params = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "params": params}, ensure_ascii=False).encode() + b"\n"


def submission(*custom_ids: str, key: str = "abc/1/1", **more: Any) -> Submission:
    posted = b"".join(map(line, custom_ids))
    return Submission(
        **{
            "key": key,
            "file_name": "x.jsonl",
            "endpoint": "/v1/chat/completions",
            "model": "m",
            "completion_window": "24h",
            "requests": len(custom_ids),
            "lines": lambda: io.BytesIO(posted),
            **more,
        }
    )


def now() -> datetime:
    return datetime.now(UTC)


def test_the_requests_are_the_lines_of_the_file_as_they_are(
    service: BatchService, anthropic_server: AnthropicFake
) -> None:
    lines = [line("a", "\u2028 日本語 🐈"), line("b", "x" * 3_000_000), line("c")]
    service.create(submission(lines=lambda: io.BytesIO(b"".join(lines)), requests=3), "")
    (sent,) = anthropic_server.calls
    assert sent.body == b'{"requests":[' + b",".join(each[:-1] for each in lines) + b"]}"
    assert sent.headers["content-length"] == str(len(sent.body))
    assert sent.headers["content-type"] == "application/json"


def test_a_file_as_big_as_the_limit_makes_a_body_of_256_mb() -> None:
    accepted = AnthropicProvider.limits
    assert accepted.max_bytes - 1 + len(b'{"requests":[]}') < 256_000_000
    assert accepted.max_requests == 100_000


def test_a_big_file_becomes_an_array_in_the_memory_of_a_few_blocks(tmp_path: Path) -> None:
    with (tmp_path / "requests.jsonl").open("wb") as file:
        size = sum(file.write(line(f"row-{number}", "x" * 100_000)) for number in range(400))
    tracemalloc.start()
    with (tmp_path / "requests.jsonl").open("rb") as file:
        made = sum(map(len, as_array(file)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made == size - 1 + len(b'{"requests":[]}')
    assert peak < 8_000_000 < size


@pytest.mark.parametrize(("version", "sent"), [(None, "2026-10-21"), ("2023-06-01", "2023-06-01")])
def test_the_api_version_is_the_sdks_or_the_jobs(
    anthropic_server: AnthropicFake, version: str | None, sent: str
) -> None:
    made = connect(settings(anthropic_server.url, api_version=version), HOME, {"TEST_KEY": KEY})
    made.create(submission("a"), "")
    assert anthropic_server.calls[0].headers["anthropic-version"] == sent


@pytest.mark.parametrize(
    "url",
    [
        "{url}/v1/messages/batches/{id}/results",
        "/v1/messages/batches/{id}/results",
        "https://127.0.0.1:9/{id}",
    ],
)
def test_results_come_from_the_base_url_so_that_the_key_goes_nowhere_else(
    service: BatchService, anthropic_server: AnthropicFake, url: str
) -> None:
    anthropic_server.results_url = url
    made = service.create(submission("a", "b"), "")
    anthropic_server.end(made.id)
    sink = io.BytesIO()
    assert service.download(made.id, sink) == len(sink.getvalue()) > 0


def test_a_batch_without_results_is_waited_for_or_given_up(
    service: BatchService, anthropic_server: AnthropicFake
) -> None:
    made = service.create(submission("a"), "")
    with pytest.raises(TransientError, match="no results yet"):
        service.download(made.id, io.BytesIO())
    anthropic_server.end(made.id)
    anthropic_server.archive(made.id)
    assert service.retrieve(made.id).result_files, "not taken for a batch that answered nothing"
    with pytest.raises(TerminalError, match="29 days") as caught:
        service.download(made.id, io.BytesIO())
    assert caught.value.code == "archived"


@pytest.mark.parametrize("deletes", [True, False])
def test_a_gateway_that_cannot_delete_is_left_alone(
    service: BatchService, anthropic_server: AnthropicFake, deletes: bool
) -> None:
    made = service.create(submission("a"), "")
    anthropic_server.end(made.id)
    anthropic_server.deletes = deletes
    service.delete_file(made.id)
    assert bool(anthropic_server.batches) is not deletes


def test_a_batch_under_way_is_not_deleted(service: BatchService, anthropic_server: AnthropicFake) -> None:
    made = service.create(submission("a"), "")
    with pytest.raises(TerminalError, match="Only batches that have ended"):
        service.delete_file(made.id)


@pytest.mark.parametrize(
    ("status", "word", "error"),
    [
        (413, "exceeds", TerminalError),
        (402, "credit", BillingRefused),
        (529, "Overloaded", LostReply),
        (404, "no such route", NotFound),
    ],
)
def test_what_a_refused_creation_means(
    service: BatchService, anthropic_server: AnthropicFake, status: int, word: str, error: type[Exception]
) -> None:
    anthropic_server.fault("create", f"status:{status}", text=f"It {word}")
    with pytest.raises(error, match=f"HTTP {status}: It {word}"):
        service.create(submission("a"), "")


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("requests.1.custom_id: String should match pattern", "(custom_id b)"),
        ("requests.0.params: Input should be an object", "(custom_id a)"),
        ("requests.7.params: what", "(custom_id None)"),
    ],
)
def test_a_refusal_names_the_row_that_it_numbers(
    service: BatchService, anthropic_server: AnthropicFake, text: str, row: str
) -> None:
    anthropic_server.fault("create", "status:400", text=text)
    with pytest.raises(TerminalError) as caught:
        service.create(submission("a", "b"), "")
    assert str(caught.value).endswith(row)
    assert caught.value.code == "invalid_request_error"


@pytest.mark.parametrize(
    ("others", "ended", "found"),
    [(0, False, True), (1, False, None), (1, True, True), (0, True, True)],
)
def test_a_lone_batch_is_ours_unless_another_posting_may_be_looking_for_it(
    service: BatchService, anthropic_server: AnthropicFake, others: int, ended: bool, found: bool | None
) -> None:
    began = now()
    made = service.create(submission("a", "b"), "")
    if ended:
        anthropic_server.end(made.id)
    sought = submission("a", "b", unconfirmed_others=others)
    if found is None:
        with pytest.raises(TransientError, match=made.id):
            service.find(sought, began)
    else:
        assert service.find(sought, began).id == made.id


@pytest.mark.parametrize(
    "sought",
    [
        lambda made: submission("a", "b", "c"),
        lambda made: submission("a", "b", known_batch_ids=frozenset({made.id})),
    ],
)
def test_a_batch_of_another_size_or_of_another_posting_is_not_it(
    service: BatchService, sought: Callable[[Any], Submission]
) -> None:
    began = now()
    assert service.find(sought(service.create(submission("a", "b"), "")), began) is None


@pytest.mark.parametrize(("minutes", "found"), [(180, False), (0, True)])
def test_only_batches_since_the_intent_are_looked_at(
    service: BatchService, anthropic_server: AnthropicFake, minutes: int, found: bool
) -> None:
    batch_id = anthropic_server.add(["a", "b"], now() - timedelta(minutes=minutes))
    made = service.find(submission("a", "b"), now())
    assert (made.id if made else None) == (batch_id if found else None)


@pytest.mark.parametrize(("ids", "found"), [(["a", "b"], True), (["x", "y"], False)])
def test_a_batch_that_is_dated_before_the_intent_is_ours_once_its_results_say_so(
    service: BatchService, anthropic_server: AnthropicFake, ids: list[str], found: bool
) -> None:
    """Batches need not be dated by the clock that dates replies."""
    anthropic_server.hold = True
    batch_id = anthropic_server.add(ids, now() - timedelta(hours=1))
    with pytest.raises(TransientError, match="results will tell"):
        service.find(submission("a", "b"), now())
    anthropic_server.end(batch_id)
    made = service.find(submission("a", "b"), now())
    assert (made.id if made else None) == (batch_id if found else None)


def test_the_services_clock_decides_and_not_ours(
    service: BatchService, anthropic_server: AnthropicFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our clock is an hour fast: by it, the batch was made an hour before it was meant to be."""

    made = service.create(submission("a", "b"), "")
    ahead = timedelta(hours=1)

    class Fast(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + ahead

    monkeypatch.setattr(batches, "datetime", Fast)
    assert service.find(submission("a", "b"), datetime.now(UTC) + ahead).id == made.id


def test_it_is_found_behind_a_page_of_newer_batches(
    service: BatchService, anthropic_server: AnthropicFake
) -> None:
    began = now()
    made = service.create(submission("a", "b"), "")
    for _ in range(205):
        anthropic_server.add(["x"])
    assert service.find(submission("a", "b"), began).id == made.id
    assert anthropic_server.seen["list"] == 3


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ({"a": "succeeded", "b": "succeeded"}, BatchStatus.COMPLETED),
        ({"a": "failed", "b": "failed"}, BatchStatus.COMPLETED),
        ({"a": "succeeded", "b": "expired"}, BatchStatus.EXPIRED),
        ({"a": "succeeded", "b": "canceled"}, BatchStatus.CANCELLED),
        ({"a": "expired", "b": "canceled"}, BatchStatus.EXPIRED),
    ],
)
def test_how_a_batch_ended_is_in_its_counts(
    service: BatchService, anthropic_server: AnthropicFake, end: dict[str, str], status: BatchStatus
) -> None:
    anthropic_server.script = end
    made = service.create(submission("a", "b"), "")
    assert (made.status, made.total, made.completed) == (BatchStatus.RUNNING, 2, 0)
    anthropic_server.end(made.id)
    found = service.retrieve(made.id)
    assert (found.status, found.total, found.result_files) == (status, 2, (made.id,))
    assert found.completed == list(end.values()).count("succeeded")
    assert found.failed == list(end.values()).count("failed")
    assert found.expires_at is not None


def test_a_word_nobody_knows_is_a_batch_under_way(
    service: BatchService, anthropic_server: AnthropicFake
) -> None:
    made = service.create(submission("a"), "")
    anthropic_server.batches[made.id] |= {"processing_status": "scheduling", "request_counts": None}
    found = service.retrieve(made.id)
    assert (found.status, found.total) == (BatchStatus.RUNNING, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Welcome</html>", "text/html"),
        (b"{cut o", "application/json"),
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"id":null,"data":"x"}', "application/json"),
        (b'{"id":"","data":[7]}', "application/json"),
    ],
)
@pytest.mark.parametrize("op", ["create", "find", "list", "retrieve", "download"])
def test_a_reply_that_is_none_says_nothing(
    service: BatchService,
    anthropic_server: AnthropicFake,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    kind: str,
    op: str,
) -> None:
    """Least of all that there is no such batch: we would post again."""
    call = {
        "create": lambda: service.create(submission("a"), ""),
        "find": lambda: service.find(submission("a"), now()),
        "list": lambda: list(service.list_batches(now())),
        "retrieve": lambda: service.retrieve("msgbatch_1"),
        "download": lambda: service.download("msgbatch_1", io.BytesIO()),
    }[op]
    monkeypatch.setattr(anthropic_server, "answer", lambda _: Reply(body, headers={"content-type": kind}))
    with pytest.raises(LostReply if op == "create" else TransientError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_list_that_is_null_is_an_empty_one(
    service: BatchService, anthropic_server: AnthropicFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anthropic_server, "on_list", lambda _: Reply({"data": None, "has_more": False}))
    assert service.find(submission("a"), now()) is None


def test_a_web_page_instead_of_results_is_not_taken_for_them(
    service: BatchService, anthropic_server: AnthropicFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = service.create(submission("a"), "")
    anthropic_server.end(made.id)
    page = Reply(b"<html>Sign in</html>", headers={"content-type": "text/html; charset=utf-8"})
    monkeypatch.setattr(anthropic_server, "on_content", lambda *_: page)
    sink = io.BytesIO()
    with pytest.raises(TransientError, match="web page"):
        service.download(made.id, sink)
    assert sink.getvalue() == b""


def test_a_candidate_that_is_deleted_while_it_is_looked_at_is_not_ours(
    service: BatchService, anthropic_server: AnthropicFake
) -> None:
    anthropic_server.end(anthropic_server.add(["a", "b"]))
    anthropic_server.fault("content", "status:404")
    assert service.find(submission("a", "b"), now()) is None


@pytest.mark.parametrize(
    "more", [{"metadata": {"a": "b"}}, {"completion_window": "48h"}, {"cache_ttl": "2h"}]
)
def test_what_a_batch_cannot_have_cannot_be_set(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(None, **more)
