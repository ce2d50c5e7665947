"""The `deadline` of a job: when it is, and what cannot be one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from configs.deadline import Deadline
from configs.job import Job

BERLIN = ZoneInfo("Europe/Berlin")


def section(**keys: Any) -> Deadline:
    return Deadline.model_validate({"max_rows": 10, **keys})


@pytest.mark.parametrize(
    ("keys", "began", "moment"),
    [
        ({"at": "06:00"}, "2026-11-21T22:00+01:00", "2026-11-22T06:00+01:00"),
        ({"at": "06:00"}, "2026-11-22T05:59+01:00", "2026-11-22T06:00+01:00"),
        ({"at": "06:00"}, "2026-11-22T06:00+01:00", "2026-11-23T06:00+01:00"),
        ({"at": "00:00"}, "2026-11-21T22:00+01:00", "2026-11-22T00:00+01:00"),
        # the night in which the clocks go forward, from 02:00 to 03:00
        ({"at": "06:00"}, "2026-03-28T22:00+01:00", "2026-03-29T06:00+02:00"),
        ({"at": "02:30"}, "2026-03-28T22:00+01:00", "2026-03-29T03:30+02:00"),
        ({"at": "02:30"}, "2026-03-29T04:00+02:00", "2026-03-30T02:30+02:00"),
        # the night in which they show 02:00 to 03:00 twice
        ({"at": "06:00"}, "2026-10-24T22:00+02:00", "2026-10-25T06:00+01:00"),
        ({"at": "02:30"}, "2026-10-25T02:10+02:00", "2026-10-25T02:30+02:00"),
        ({"at": "02:30"}, "2026-10-25T02:45+02:00", "2026-10-25T02:30+01:00"),
        ({"at": "02:30"}, "2026-10-25T02:45+01:00", "2026-10-26T02:30+01:00"),
        ({"after": "8h"}, "2026-10-24T22:00+02:00", "2026-10-25T05:00+01:00"),
    ],
)
def test_it_is_the_next_such_time_in_the_jobs_zone(keys: dict[str, str], began: str, moment: str) -> None:
    start = datetime.fromisoformat(began).astimezone(UTC)
    assert section(**keys).moment(start, BERLIN) == datetime.fromisoformat(moment)


def job(provider: dict[str, Any], deadline: dict[str, Any], **prompt: Any) -> Job:
    return Job.model_validate(
        {
            "name": "letters",
            "source": {"path": "rows.parquet"},
            "prompt": {"model": "m", "user": "x", **prompt},
            "provider": provider,
            "deadline": {"at": "06:00", "max_rows": 10, **deadline},
            "output": {"path": "out"},
        }
    )


OPENAI = {"name": "openai"}
VIDEOS = {"endpoint": "/v1/videos"}


@pytest.mark.parametrize(
    ("provider", "deadline", "prompt", "error"),
    [
        (OPENAI, {"at": None}, {}, "give either at"),
        (OPENAI, {"after": "8h"}, {}, "give either at"),
        (OPENAI, {"at": 1350}, {}, "write it in quotes"),
        (OPENAI, {"at": "24:00"}, {}, "deadline.at"),
        (OPENAI, {"max_rows": None}, {}, "give max_rows or max_usd"),
        (OPENAI, {"lane": "flex"}, {"params": {"service_tier": "auto"}}, "prompt.params.service_tier: deadline.lane"),
        (OPENAI, {}, VIDEOS, "deadline: answers of /v1/videos are files"),
        ({"name": "alibaba"}, {"lane": "flex"}, {}, "deadline.lane: Alibaba has no flex calls; write standard"),
        ({"name": "azure", "endpoint": "https://x.openai.azure.com"}, {}, {}, "deadline: Azure answers no real-time"),
        ({"name": "anthropic"}, {}, {"params": {"max_tokens": 5}}, "deadline: Anthropic is asked by batches alone; remove"),
        ({"name": "gemini"}, {}, {}, "deadline: Gemini is asked by batches alone; remove it"),
        ({"name": "local"}, {}, {}, "deadline: Local asks its upstream in real time already"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_an_error_that_names_the_key(
    provider: dict[str, Any], deadline: dict[str, Any], prompt: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error.replace(".", r"[\s\S]{1,2}")):
        job(provider, deadline, **prompt)


@pytest.mark.parametrize(
    "provider", [OPENAI, {"name": "openai", "base_url": "https://x.example/v1"}, {"name": "alibaba"}]
)
def test_other_services_with_openais_protocol_are_asked_at_their_own_address(
    provider: dict[str, Any],
) -> None:
    assert job(provider, {}).deadline is not None
