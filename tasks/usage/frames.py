"""Batches and reuse of the ledger as pandas tables: read row by row into columns, one code or number of 8 bytes a value.

pandas is imported inside the functions: it takes half a second and 35 MB, which other commands should not pay.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from math import nan
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

from tasks.ledger.ended import EndedBatch, ReusingRun
from tasks.providers.base import BatchStatus

if TYPE_CHECKING:
    import pandas as pd

R = TypeVar("R")


def batch_frame(batches: Iterable[EndedBatch], zone: ZoneInfo) -> pd.DataFrame:
    """A row a batch: job, provider, model, account and day; its counts, times in seconds, tokens and cost.

    One whose figures are not final counts nothing yet, and has no cost.
    """
    labels: dict[str, Callable[[EndedBatch], str | None]] = {
        "job": lambda batch: batch.job,
        "provider": lambda batch: batch.provider,
        "model": lambda batch: batch.model,
        "account": lambda batch: batch.account,
        "day": lambda batch: _day(batch.ended_at, zone),
    }
    numbers: dict[str, Callable[[EndedBatch], float | None]] = {
        "batches": _counts,
        "refused_batches": lambda batch: batch.is_final and was_refused(batch),
        "requests": lambda batch: batch.requests if _counts(batch) else 0,
        "answers": lambda batch: answers_of(batch) if _counts(batch) else 0,
        "seconds": batch_seconds,
        "queue_seconds": queue_seconds,
        "input": lambda batch: batch.input_tokens or 0,
        "output": lambda batch: batch.output_tokens or 0,
        "cached": lambda batch: batch.cached_tokens or 0,
        "reasoning": lambda batch: batch.reasoning_tokens or 0,
        "usd": lambda batch: 0.0 if was_refused(batch) else batch.cost_usd,
    }
    return _frame(batches, labels, numbers)


def reuse_frame(runs: Iterable[ReusingRun], zone: ZoneInfo) -> pd.DataFrame:
    """A row a run: job, provider, model, account and day; reused rows and what they saved."""
    labels: dict[str, Callable[[ReusingRun], str | None]] = {
        "job": lambda run: run.job,
        "provider": lambda run: run.provider,
        "model": lambda run: run.model,
        "account": lambda run: run.account,
        "day": lambda run: _day(run.finished_at, zone),
    }
    numbers: dict[str, Callable[[ReusingRun], float | None]] = {
        "rows": lambda run: run.rows,
        "saved_usd": lambda run: run.saved_usd,
    }
    return _frame(runs, labels, numbers)


def was_refused(batch: EndedBatch) -> bool:
    """Whether it was refused as a whole, and another posting stands for its rows, or none: nothing was merged of it."""
    return batch.status == BatchStatus.FAILED and batch.input_tokens is None


def _counts(batch: EndedBatch) -> bool:
    """Whether it counts with its requests. Not before its figures are final: they would be other ones when its answers are
    read, and counters that fall are taken for new ones by Prometheus."""
    return batch.is_final and not was_refused(batch)


def answers_of(batch: EndedBatch) -> int:
    """Requests that the model answered: by the result lines; where nobody reads those, or an earlier version read them, by
    the provider's counts."""
    if batch.answered_requests is not None:
        return min(batch.answered_requests, batch.requests)
    return min(max(batch.completed or 0, batch.counted_requests or 0), batch.requests)


def batch_seconds(batch: EndedBatch) -> float | None:
    """From posting to the end; None for real-time calls, which say nothing of batches."""
    return None if batch.lane else _seconds(batch, batch.ended_at)


def queue_seconds(batch: EndedBatch) -> float | None:
    """From posting to the first look that found it no longer queued; None where there was none, and for real-time calls."""
    if batch.lane:
        return None
    first = next((seen_at for status, seen_at in batch.history if status != BatchStatus.QUEUED), None)
    return None if first is None else _seconds(batch, datetime.fromisoformat(first))


def _seconds(batch: EndedBatch, end: datetime) -> float:
    """From the call that created it, by our clock at both ends. The clock may be set back meanwhile."""
    return max(0.0, (end - (batch.create_sent_at or batch.intended_at)).total_seconds())


def _day(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).date().isoformat()


def _frame(
    rows: Iterable[R],
    labels: Mapping[str, Callable[[R], str | None]],
    numbers: Mapping[str, Callable[[R], float | None]],
) -> pd.DataFrame:
    """The rows as columns of labels and numbers. Null is a missing label and a NaN."""
    codes = {name: array("q") for name in labels}
    known: dict[str, dict[str, int]] = {name: {} for name in labels}
    values = {name: array("d") for name in numbers}
    for row in rows:
        for name, label_of in labels.items():
            label = label_of(row)
            codes[name].append(-1 if label is None else known[name].setdefault(label, len(known[name])))
        for name, number_of in numbers.items():
            number = number_of(row)
            values[name].append(nan if number is None else number)
    return _as_pandas(codes, known, values)


def _as_pandas(
    codes: Mapping[str, array[int]], known: Mapping[str, Iterable[str]], values: Mapping[str, array[float]]
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    table: dict[str, Any] = {
        name: pd.Categorical.from_codes(
            np.asarray(places, np.int64), categories=pd.Index(list(known[name]), dtype=object)
        )
        for name, places in codes.items()
    }
    return pd.DataFrame({**table, **{name: np.asarray(each, np.float64) for name, each in values.items()}})
