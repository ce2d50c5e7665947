"""Statistics in Prometheus' text format: counters over all that the ledger knows, so that `rate` and `increase` give any range.

A counter that falls is taken for one that began anew, and added once more: a batch counts once its figures are final.

https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tasks.ledger.ended import EndedBatch, ReusingRun
from tasks.ledger.store import Ledger
from tasks.usage.aggregate import added_up, with_texts
from tasks.usage.frames import batch_frame, reuse_frame
from tasks.usage.period import zone_of

if TYPE_CHECKING:
    import pandas as pd

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LABELS: Final = ["job", "provider", "model", "account"]
_BOUNDS: Final = (60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 172_800)
_Sums = Mapping[str, Any]


class _Metric(NamedTuple):
    """A metric: name, type, help, and its value by further labels."""

    name: str
    kind: str
    help: str
    values: Callable[[_Sums], Mapping[str, float]]


def _one(column: str) -> Callable[[_Sums], Mapping[str, float]]:
    return lambda sums: {"": sums[column]}


# Dashboards and alerts name these: none is renamed, and none changes its meaning.
_METRICS: Final = (
    _Metric(
        "nightmail_batches_total",
        "counter",
        "Batches that ended and whose answers are read.",
        _one("batches"),
    ),
    _Metric(
        "nightmail_refused_batches_total",
        "counter",
        "Batches that their provider refused as a whole; their requests count nowhere.",
        _one("refused_batches"),
    ),
    _Metric("nightmail_requests_total", "counter", "Requests of ended batches.", _one("requests")),
    _Metric(
        "nightmail_failures_total",
        "counter",
        "Requests of ended batches without an answer.",
        lambda sums: {"": sums["requests"] - sums["answers"]},
    ),
    _Metric(
        "nightmail_tokens_total",
        "counter",
        "Tokens by kind; cached ones are part of input, reasoning ones of output.",
        lambda sums: {f'kind="{kind}"': sums[kind] for kind in ("input", "output", "cached", "reasoning")},
    ),
    _Metric(
        "nightmail_cost_usd_total",
        "counter",
        "Known cost of ended batches; see nightmail_unpriced_batches.",
        _one("known_cost_usd"),
    ),
    _Metric(
        "nightmail_unpriced_batches",
        "gauge",
        "Ended batches whose cost is unknown: no price, or answers not read yet.",
        _one("unpriced_batches"),
    ),
    _Metric("nightmail_reused_rows_total", "counter", "Rows that took over an earlier answer.", _one("rows")),
    _Metric(
        "nightmail_reused_saved_usd_total",
        "counter",
        "Known cost of those answers when they were bought.",
        _one("known_saved_usd"),
    ),
)
_TIMES: Final = {
    "nightmail_batch_seconds": (
        "seconds",
        "Time from posting to the end of the batch, once for each of its requests.",
    ),
    "nightmail_queue_seconds": (
        "queue_seconds",
        "Time from posting until the batch was seen to have left the queue, once for each of its requests.",
    ),
}


def as_prometheus(ledger: Ledger | None, job: str | None = None) -> str:
    """All metrics; those of one job, where it is named. Without a ledger, their names alone."""
    if ledger is None:
        return exposition((), ())
    return exposition(ledger.ended_batches((None, None), job), ledger.reusing_runs((None, None), job))


def exposition(ended: Iterable[EndedBatch], reusing: Iterable[ReusingRun]) -> str:
    """All metrics of these batches and runs."""
    zone = zone_of("UTC")  # days do not matter
    batches, reuse = batch_frame(ended, zone), reuse_frame(reusing, zone)
    sums = added_up(batches, reuse, _LABELS).reset_index().to_dict("records")
    lines = [line for metric in _METRICS for line in _lines(metric, sums)]
    for name, (column, help_text) in _TIMES.items():
        lines += [*_head(name, "histogram", help_text), *_histogram(name, batches, column)]
    return "".join(f"{line}\n" for line in lines)


def _lines(metric: _Metric, sums: list[dict[Any, Any]]) -> Iterator[str]:
    yield from _head(metric.name, metric.kind, metric.help)
    for each in sums:
        for further, value in metric.values(each).items():
            yield _sample(metric.name, each, value, further)


def _histogram(name: str, batches: pd.DataFrame, column: str) -> Iterator[str]:
    """Requests by the time of their batch: how many kept to each bound, the sum of their times, and how many there are."""
    timed = batches[batches[column].notna() & (batches.requests > 0)]
    for labels, group in with_texts(timed, _LABELS).groupby(_LABELS):
        label_of = dict(zip(_LABELS, labels, strict=True))
        for bound in _BOUNDS:
            kept = group.requests[group[column] <= bound].sum()
            yield _sample(f"{name}_bucket", label_of, kept, f'le="{float(bound)}"')
        total = group.requests.sum()
        yield _sample(f"{name}_bucket", label_of, total, 'le="+Inf"')
        yield _sample(f"{name}_sum", label_of, (group.requests * group[column]).sum())
        yield _sample(f"{name}_count", label_of, total)


def _head(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def _sample(name: str, label_of: Mapping[Any, Any], value: float, further: str = "") -> str:
    labels = [f'{label}="{_escaped(label_of[label])}"' for label in _LABELS]
    return f"{name}{{{','.join([*labels, *filter(None, [further])])}}} {_number(value)}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
