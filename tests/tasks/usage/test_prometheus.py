"""The text format as Prometheus' own parser reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from configs.clock import SystemClock
from rigs.past_batches import BOOKED, MIDNIGHT, Past, as_read, remember
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState
from tasks.usage.prometheus import as_prometheus, exposition

HOSTILE = 'a "model"\\with\nall}'


def families(*past: Past) -> dict[str, Metric]:
    """What is scraped of these batches, by name."""
    text = exposition(*as_read(past))
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_every_metric_has_its_type_and_help_and_the_value_of_its_labels() -> None:
    reused = {"rows": 3, "saved_usd": 0.25}
    some = {"answered_requests": 8, "cost_usd": None}
    found = families(Past(reused=reused), Past(), Past("notes", values=some))
    assert all(family.documentation for family in found.values())
    values = {
        (sample.name, sample.labels["job"], sample.labels.get("kind")): sample.value
        for family in found.values()
        for sample in family.samples
        if family.type in ("counter", "gauge")
    }
    assert {(name, kind): value for (name, job, kind), value in values.items() if job == "letters"} == {
        ("nightmail_batches_total", None): 2,
        ("nightmail_refused_batches_total", None): 0,
        ("nightmail_requests_total", None): 20,
        ("nightmail_failures_total", None): 0,
        ("nightmail_tokens_total", "input"): 200,
        ("nightmail_tokens_total", "output"): 40,
        ("nightmail_tokens_total", "cached"): 10,
        ("nightmail_tokens_total", "reasoning"): 4,
        ("nightmail_cost_usd_total", None): 1.0,
        ("nightmail_unpriced_batches", None): 0,
        ("nightmail_reused_rows_total", None): 3,
        ("nightmail_reused_saved_usd_total", None): 0.25,
    }
    assert values["nightmail_failures_total", "notes", None] == 2
    assert values["nightmail_unpriced_batches", "notes", None] == 1
    assert values["nightmail_cost_usd_total", "notes", None] == 0


def test_times_are_histograms_of_requests() -> None:
    found = families(Past(queued=60, lasted=300), Past(queued=61, lasted=301, values={"requests": 30}))
    for name, bounds, total in (
        ("nightmail_batch_seconds", {"60.0": 0, "300.0": 10, "900.0": 40, "+Inf": 40}, 10 * 300 + 30 * 301),
        ("nightmail_queue_seconds", {"60.0": 10, "300.0": 40, "+Inf": 40}, 10 * 60 + 30 * 61),
    ):
        family = found[name]
        assert family.type == "histogram"
        buckets = {each.labels["le"]: each.value for each in family.samples if each.name == f"{name}_bucket"}
        assert {bound: buckets[bound] for bound in bounds} == bounds
        assert list(buckets.values()) == sorted(buckets.values())
        assert [each.value for each in family.samples if each.name == f"{name}_sum"] == [total]
        assert [each.value for each in family.samples if each.name == f"{name}_count"] == [40]


FAILED = {"ended_at": MIDNIGHT, "status": "failed"}
COMPLETED = {"ended_at": MIDNIGHT, "status": "completed"}  # its provider counts no answers
NOTHING = dict.fromkeys(BOOKED, 0)
ANSWERS = {**NOTHING, "answered_requests": 8, "input_tokens": 50, "output_tokens": 9, "cost_usd": 0.25}


def way_of_a_chunk(run: RunLedger) -> Iterator[tuple[int, ...]]:
    """A chunk whose first batch has failed, step by step; after each, how many batches, refused ones, requests and failures
    are counted, and how many batches have no known cost."""
    (chunk,) = run.chunks()
    first = run.batch(chunk)
    yield 0, 0, 0, 0, 0
    again = replace(first, posting=2, submission_key="again", batch_id=None, ended_at=None, status=None)
    chunk = run.move(chunk, ChunkState.UPLOADED, "the queue was full", batch=again, posting=2)
    yield 0, 1, 0, 0, 0
    chunk = run.move(chunk, ChunkState.SUBMITTED, "created", batch_values={"batch_id": "b-2"})
    yield 0, 1, 0, 0, 0
    chunk = run.move(chunk, ChunkState.ENDED, "completed", batch_values=COMPLETED)
    yield 0, 1, 0, 0, 1
    run.update_run(state=RunState.CANCELLED)
    yield 0, 1, 0, 0, 1
    run.reopen((), "it goes on", state=RunState.RUNNING)
    chunk = run.move(chunk, ChunkState.COLLECTED, "fetched")
    yield 0, 1, 0, 0, 1
    next_attempt = {"attempt": 2, "posting": 1}
    chunk = run.move(chunk, ChunkState.PREPARED, "2 rows", batch_values=ANSWERS, **next_attempt)
    yield 1, 1, 10, 2, 0
    rest = replace(again, attempt=2, posting=1, requests=2, submission_key="the rest")
    chunk = run.move(chunk, ChunkState.INTENDED, "posting", batch=rest)
    chunk = run.move(chunk, ChunkState.SUBMITTED, "created", batch_values={"batch_id": "b-3"})
    chunk = run.move(chunk, ChunkState.ENDED, "invalid", batch_values=FAILED)
    yield 1, 1, 10, 2, 0
    chunk = run.move(chunk, ChunkState.COLLECTED, "no files")
    yield 1, 1, 10, 2, 0
    chunk = run.move(chunk, ChunkState.MERGED, "2 failed", batch_values=NOTHING)
    run.update_run(state=RunState.FINISHED)
    yield 2, 1, 12, 4, 0
    run.reopen([chunk], "asked again", retry=True, state=RunState.RUNNING)
    yield 2, 1, 12, 4, 0


def test_no_counter_falls_while_a_chunk_goes_its_way(tmp_path: Path) -> None:
    """Prometheus takes a counter that falls for one that began anew, and adds all of it once more."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    remember(url, [Past(unread=True, values={**FAILED, "completed": None})])
    ledger = Ledger(url, SystemClock())
    (record,) = ledger.recent_runs()
    before: dict[str, float] = {}
    for step, counted in enumerate(way_of_a_chunk(ledger.claim(record.id, "me", 60, lambda _: False))):
        found = {family.name: family for family in text_string_to_metric_families(as_prometheus(ledger))}
        names = ("batches", "refused_batches", "requests", "failures", "unpriced_batches")
        assert tuple(found[f"nightmail_{name}"].samples[0].value for name in names) == counted, step
        after = {
            f"{sample.name} {sorted(sample.labels.items())}": sample.value
            for family in found.values()
            if family.type != "gauge"
            for sample in family.samples
        }
        assert {name: after.get(name) for name in before if after.get(name, -1) < before[name]} == {}, step
        before = after


def test_labels_are_escaped() -> None:
    found = families(Past(values={"model": HOSTILE, "provider": None}))
    (sample,) = found["nightmail_requests"].samples
    assert sample.labels == {"job": "letters", "provider": "", "model": HOSTILE, "account": "acc"}


def test_one_job_alone_and_no_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    remember(url, [Past(), Past("notes")])
    text = as_prometheus(Ledger(url, SystemClock()), "notes")
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.labels["job"] for sample in found["nightmail_batches"].samples] == ["notes"]
    empty = {family.name: family for family in text_string_to_metric_families(as_prometheus(None))}
    assert empty.keys() == found.keys()
    assert not any(family.samples for family in empty.values())
