"""Real-time calls as a batch service: the embedded service in front of the provider's own URL."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.home import Home
from configs.job import Job
from configs.providers.openai import OpenAIProvider
from rigs.batch_service import KEY, BatchService
from rigs.real_time import RealTime, stop_services
from tasks.providers import registry
from tasks.providers.base import AnswersInRealTime, ServiceBatch, Submission
from tasks.providers.base import BatchService as Service
from tasks.providers.openai.lane import connect


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home.from_environment({"NIGHTMAIL_HOME": str(tmp_path / "home")})
    yield home
    stop_services(home.folder)


def lane(real_time: RealTime, home: Home, key_name: str = "TEST_KEY") -> Service:
    job = {
        "name": "letters",
        "source": {"path": "rows.parquet"},
        "prompt": {"model": "m", "user": "x"},
        "provider": {"name": "openai", "base_url": real_time.url, "api_key_env": key_name},
        "output": {"path": "out"},
    }
    service = registry.connect(Job.model_validate(job).provider, home, {key_name: KEY})
    assert isinstance(service, AnswersInRealTime)
    return service.in_real_time(2)


def answered(service: Service) -> ServiceBatch:
    """A batch of one line, at its end."""
    line = json.dumps(BatchService.chat("t-1")).encode() + b"\n"
    file_id = service.upload("lines.jsonl", io.BytesIO(line))
    posted = Submission(
        "r/1/1", "lines.jsonl", "/v1/chat/completions", "m", "24h", 1, lambda: io.BytesIO(line)
    )
    batch = service.create(posted, file_id)
    until = time.monotonic() + 60
    while not batch.status.ended and time.monotonic() < until:
        batch = service.retrieve(batch.id)
    return batch


def test_the_key_reaches_the_provider_and_no_disk(real_time: RealTime, home: Home) -> None:
    assert answered(lane(real_time, home)).completed == 1
    assert real_time.keys == {f"Bearer {KEY}"}
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert files
    assert not [path.name for path in files if KEY.encode() in path.read_bytes()]


def test_a_service_that_is_gone_is_started_again_and_has_its_batches(real_time: RealTime, home: Home) -> None:
    service = lane(real_time, home)
    batch = answered(service)
    stop_services(home.folder)
    service.reconnect()
    assert service.retrieve(batch.id) == batch
    assert lane(real_time, home).account == service.account
    assert set(real_time.asked.values()) == {1}


def test_each_account_has_a_service_of_its_own(real_time: RealTime, home: Home) -> None:
    assert lane(real_time, home).account != lane(real_time, home, "OTHER_KEY").account


def test_a_key_that_is_missing_is_named(real_time: RealTime, home: Home) -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        connect(OpenAIProvider(name="openai", base_url=real_time.url), home, {}, 1)
