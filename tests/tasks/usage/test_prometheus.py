"""The text format as Prometheus' own parser reads it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from configs.clock import SystemClock
from rigs.past_batches import Past, as_read, remember
from tasks.ledger.store import Ledger
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
