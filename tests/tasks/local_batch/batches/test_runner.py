"""Slow, cancelled, expired, killed and restarted batches."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import pytest
from openai.types import Batch

from rigs.batch_service import BatchService, StartBatchService


def rows(service: BatchService, count: int) -> list[dict[str, Any]]:
    return [service.chat(f"row-{number}", f"text {number}") for number in range(count)]


def ids_of(service: BatchService, batch: Batch) -> Counter[str]:
    lines = service.results(batch.output_file_id) + service.results(batch.error_file_id)
    return Counter(line["custom_id"] for line in lines)


def test_progress_can_be_watched_and_a_cancelled_batch_keeps_its_answers(
    batch_service: StartBatchService,
) -> None:
    service = batch_service(rows_per_second=150)
    created = service.submit(rows(service, 1_000))
    seen = service.wait(created.id, lambda batch: batch.request_counts.completed >= 80)
    assert (seen.status, seen.request_counts.total) == ("in_progress", 1_000)

    cancelling = service.client().batches.cancel(created.id)
    assert cancelling.status == "cancelling"
    batch = service.wait(created.id)
    counts = batch.request_counts
    assert (batch.status, batch.completed_at) == ("cancelled", None)
    assert batch.cancelling_at <= batch.cancelled_at
    assert 80 <= counts.completed < 1_000
    assert counts.completed + counts.failed == 1_000
    assert len(service.results(batch.output_file_id)) == counts.completed
    errors = service.results(batch.error_file_id)
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert all(line["response"] is None for line in errors)
    assert ids_of(service, batch) == Counter(f"row-{number}" for number in range(1_000))


def test_a_batch_expires_when_its_window_ends(batch_service: StartBatchService) -> None:
    service = batch_service(rows_per_second=200)
    batch = service.run(rows(service, 1_000), completion_window="1s")
    assert batch.status == "expired"
    assert batch.expired_at >= batch.expires_at == batch.created_at + 1
    errors = service.results(batch.error_file_id)
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert ids_of(service, batch) == Counter(f"row-{number}" for number in range(1_000))


@pytest.mark.slow
def test_a_killed_service_goes_on_where_it_was(batch_service: StartBatchService) -> None:
    service = batch_service(rows_per_second=200)
    created = service.submit(rows(service, 1_000))
    for wanted in (100, 600):
        service.wait(created.id, lambda batch, wanted=wanted: batch.request_counts.completed >= wanted)
        service.kill()
        journal = (service.folder / "work" / created.id / "output.jsonl").read_bytes()
        service.start()
        resumed = (service.folder / "work" / created.id / "output.jsonl").read_bytes()
        assert resumed.startswith(journal[: journal.rfind(b"\n") + 1]), "an answer was lost"
    batch = service.wait(created.id)
    assert batch.status == "completed"
    assert ids_of(service, batch) == Counter(f"row-{number}" for number in range(1_000))
    lines = service.results(batch.output_file_id)
    used = sum(line["response"]["body"]["usage"]["total_tokens"] for line in lines)
    assert batch.usage.total_tokens == used
    assert list((service.folder / "work").iterdir()) == []


def test_every_step_survives_restarts(batch_service: StartBatchService) -> None:
    service = batch_service()
    steps = ("validating", "in_progress", "finalizing")
    created = {step: service.submit(rows(service, 20), f"stuck:{step}").id for step in steps}

    def all_are_where_they_were() -> None:
        for step, batch_id in created.items():
            service.wait(batch_id, lambda batch, step=step: batch.status == step)

    for how in (signal.SIGKILL, signal.SIGTERM):
        all_are_where_they_were()
        service.stop(how)
        service.start()
    all_are_where_they_were()
    for step, batch_id in created.items():
        assert service.client().batches.cancel(batch_id).status == "cancelling"
        batch = service.wait(batch_id)
        assert batch.status == "cancelled"
        assert sum(ids_of(service, batch).values()) == (0 if step == "validating" else 20)


@pytest.mark.slow
def test_a_line_cut_by_a_crash_is_answered_again(batch_service: StartBatchService) -> None:
    service = batch_service(rows_per_second=60)
    created = service.submit(rows(service, 300))
    service.wait(created.id, lambda batch: batch.request_counts.completed >= 30)
    service.kill()
    journal = service.folder / "work" / created.id / "output.jsonl"
    journal.write_bytes(journal.read_bytes()[:-100])
    service.start()
    assert ids_of(service, service.wait(created.id)) == Counter(f"row-{number}" for number in range(300))


def test_files_and_finished_batches_survive_too(batch_service: StartBatchService) -> None:
    service = batch_service()
    batch = service.run(rows(service, 10))
    before = service.content(batch.output_file_id)
    (service.folder / "files" / "file-orphan").write_bytes(b"left by a crash")
    (service.folder / "incoming" / "half").write_bytes(b"left by a crash")
    service.kill()
    service.start()
    assert service.client().batches.retrieve(batch.id) == batch
    assert service.content(batch.output_file_id) == before
    assert not (service.folder / "files" / "file-orphan").exists()
    assert list((service.folder / "incoming").iterdir()) == []
