"""Counts, times and reasons that make no sense: what can be read is read, the rest is as if it were not there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.home import Home
from configs.load import load_provider
from rigs.scripted_openai import ScriptedOpenAI
from tasks.providers.base import BatchService, ServiceBatch
from tasks.providers.registry import connect
from tasks.providers.times import time_of
from tasks.stages.wire.json_values import MOST

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNIX = int(NOON.timestamp())


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (UNIX, NOON),
        (float(UNIX), NOON),
        (str(UNIX), NOON),
        (f"{UNIX}.0", NOON),
        (UNIX * 1000, NOON),
        (str(UNIX * 1000), NOON),
        (NOON, NOON),
        ("2026-11-22T12:00:00Z", NOON),
        (" 2026-11-22T21:00:00+09:00 ", NOON),
        ("2026-11-22T12:00:00.000000001Z", NOON),
        ("Sun, 22 Nov 2026 12:00:00 GMT", NOON),
        ("Sunday, 22-Nov-26 12:00:00 GMT", NOON),
        *((nothing, None) for nothing in (None, 0, "", "soon", True, [], {}, "²", "1e300", "-5", -5)),
        *((nothing, None) for nothing in (1e300, 10**30, 10**400, float("nan"), float("inf"), "9" * 5_000)),
        *((nothing, None) for nothing in ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01")),
        *((nothing, None) for nothing in ("Fri, 31 Dec 9999 23:59:59 GMT", "Sun, 99 Nov 2026")),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_times_in_every_form(value: Any, read: datetime | None) -> None:
    try:
        assert time_of(value) == read
    except OverflowError:
        pytest.fail("an exception out of a time")


@given(
    st.one_of(
        st.text(), st.integers(), st.floats(), st.datetimes(timezones=st.just(UTC)), st.none(), st.booleans()
    )
)
def test_no_time_is_an_exception_and_each_leaves_room_for_a_wait(value: Any) -> None:
    time = time_of(value)
    if time is not None:
        assert time - timedelta(days=365) < time < time + timedelta(days=36_500)


def openai_reply(count: Any, time: Any, reason: Any) -> Any:
    return {
        "id": "batches/1",
        "status": "failed",
        "request_counts": {"total": count, "completed": count, "failed": count},
        "created_at": time,
        "expires_at": time,
        "errors": {"data": [{"code": reason, "message": reason, "line": count}]},
    }


def anthropic_reply(count: Any, time: Any, reason: Any) -> Any:
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return {
        "id": "batches/1",
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": dict.fromkeys(names, count),
        "created_at": time,
        "expires_at": time,
        "ended_at": time,
        "results_url": reason,
    }


def gemini_reply(count: Any, time: Any, reason: Any) -> Any:
    return {
        "name": "batches/1",
        "done": True,
        "metadata": {
            "createTime": time,
            "batchStats": {
                "requestCount": count,
                "successfulRequestCount": count,
                "failedRequestCount": count,
            },
        },
        "error": {"code": count, "message": reason},
    }


REPLIES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "openai": openai_reply,
    "azure": openai_reply,
    "alibaba": openai_reply,
    "anthropic": anthropic_reply,
    "gemini": gemini_reply,
}
ODD: dict[str, Any] = {
    "huge": 10**30,
    "beyond floats": 10**400,
    "negative": -3,
    "a fraction": 2.5,
    "a word": "²",
    "true": True,
    "a list": [1],
    "an object": {"seconds": 1},
    "null": None,
    "NaN": float("nan"),
    "infinite": float("inf"),
    "the last day": "9999-12-31T23:59:59Z",
    "the last day far west": "9999-12-31T23:59:59-23:59",
    "the first day": "0001-01-01T00:00:00+23:59",
}


@pytest.fixture
def service_of(scripted: ScriptedOpenAI, tmp_path: Path) -> Callable[[str], BatchService]:
    """The provider of that name as a run connects to it, at the scripted server."""

    def service(name: str) -> BatchService:
        key = "endpoint" if name == "azure" else "base_url"
        url = scripted.url.removesuffix("/v1")
        settings = load_provider(name, (f"provider.{key}={url}", "provider.api_key_env=TEST_KEY"))
        return connect(settings, Home(tmp_path, "", ""), {"TEST_KEY": "sk-test"})

    return service


def fits(batch: ServiceBatch) -> bool:
    """Whether the ledger and the clock can do with it what a poll does."""
    counts = (batch.total, batch.completed, batch.failed, batch.error_line)
    texts = (batch.error_code, batch.error_message)
    return (
        all(count is None or (type(count) is int and 0 <= count <= MOST * 5) for count in counts)
        and all(text is None or isinstance(text, str) for text in texts)
        and (batch.expires_at is None or batch.expires_at + timedelta(days=1_000) > batch.expires_at)
    )


@pytest.mark.parametrize("provider", REPLIES)
def test_no_poll_fails_over_a_number(
    scripted: ScriptedOpenAI, service_of: Callable[[str], BatchService], provider: str
) -> None:
    service = service_of(provider)
    for name, odd in ODD.items():
        for count, time, reason in ((odd, UNIX, "m"), (3, odd, "m"), (3, UNIX, odd)):
            scripted.body = REPLIES[provider](count, time, reason)
            assert fits(service.retrieve("batches/1")), name


@pytest.mark.parametrize("count", [3, 3.0, "3", " 3 "])
@pytest.mark.parametrize("time", [UNIX, UNIX * 1000, str(UNIX), "2026-11-22T12:00:00Z"])
@pytest.mark.parametrize("provider", REPLIES)
def test_what_can_be_read_is_read(
    scripted: ScriptedOpenAI,
    service_of: Callable[[str], BatchService],
    provider: str,
    time: Any,
    count: Any,
) -> None:
    scripted.body = REPLIES[provider](count, time, "m")
    batch = service_of(provider).retrieve("batches/1")
    assert batch.completed == batch.failed == 3
    assert batch.total == (15 if provider == "anthropic" else 3)
    assert batch.expires_at == (NOON + timedelta(hours=48) if provider == "gemini" else NOON)
