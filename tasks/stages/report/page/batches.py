"""Prepare the batches for the report: select which to show, sum up durations, lay out the timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

_PHASES = {"queued": "waiting", "running": "running", "finishing": "finishing", "cancelling": "cancelling"}
_MAX_TICKS = 5
_TICK_STEPS = [
    timedelta(seconds=seconds)
    for seconds in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
]


@dataclass(frozen=True)
class BatchView:
    """One posting of a chunk, with its batch. Times are aware; `phases` are (status, first seen at), oldest first.

    `id` is the provider's. `priced` is whether its answers were counted: only then does `cost_usd` None mean an unknown
    price.
    """

    chunk: int
    attempt: int
    posting: int
    id: str | None
    status: str
    requests: int
    posted: datetime | None = None
    ended: datetime | None = None
    phases: tuple[tuple[str, datetime], ...] = ()
    priced: bool = False
    cost_usd: float | None = None
    error: str | None = None
    lane: str | None = None  # of the real-time calls that answered it

    @property
    def took(self) -> timedelta | None:
        """Time from posting to end; None if it has not ended."""
        return self.ended - self.posted if self.posted and self.ended else None

    @property
    def name(self) -> str:
        """`chunk 12, attempt 2`."""
        again = f", attempt {self.attempt}" if self.attempt > 1 else ""
        posting = f", posting {self.posting}" if self.posting > 1 else ""
        return f"chunk {self.chunk}{again}{posting}" + (f", {self.lane} real-time calls" if self.lane else "")


@dataclass(frozen=True)
class Latency:
    """Time from posting to end over all ended batches: shortest, median, longest."""

    shortest: timedelta
    middle: timedelta
    longest: timedelta


@dataclass(frozen=True)
class Span:
    """A segment of a bar, one phase of the batch: `left` and `width` in percent of the axis."""

    kind: str
    left: float
    width: float


@dataclass(frozen=True)
class Timeline:
    """A bar for each batch, in their order, and the axis' tick marks as (percent, label)."""

    bars: tuple[tuple[BatchView, tuple[Span, ...]], ...]
    ticks: tuple[tuple[float, str], ...]

    @property
    def kinds(self) -> list[str]:
        """The kinds of spans that occur, for the legend."""
        occurring = {span.kind for _, spans in self.bars for span in spans}
        return [kind for kind in _PHASES.values() if kind in occurring]


def select_batches(batches: Sequence[BatchView], max_count: int) -> list[BatchView]:
    """All batches, or the `max_count` of them that went wrong or took longest, in their order."""
    if len(batches) <= max_count:
        return list(batches)
    no_time = timedelta(0)
    ranked = sorted(
        range(len(batches)),
        key=lambda number: (
            batches[number].status == "completed",
            -(batches[number].took or no_time),
            number,
        ),
    )
    return [batches[number] for number in sorted(ranked[:max_count])]


def latency(batches: Sequence[BatchView]) -> Latency | None:
    """Durations over all ended batches; None when no batch has ended."""
    spans = sorted(batch.took.total_seconds() for batch in batches if batch.took is not None)
    if not spans:
        return None
    return Latency(*(timedelta(seconds=span) for span in (spans[0], median(spans), spans[-1])))


def timeline(batches: Sequence[BatchView], until: datetime, zone: ZoneInfo) -> Timeline | None:
    """Lay out the posted batches on an axis from the first posting to the last end; open batches extend to `until`."""
    posted = [(batch.posted, batch) for batch in batches if batch.posted]
    if not posted:
        return None
    start = min(time for time, _ in posted)
    end = max(batch.ended or until for _, batch in posted)
    axis_length = max(end - start, timedelta(milliseconds=1))
    bars = tuple((batch, tuple(_spans(batch, time, until, start, axis_length))) for time, batch in posted)
    return Timeline(bars, tuple(_ticks(start, axis_length, zone)))


def _spans(
    batch: BatchView, posted: datetime, until: datetime, start: datetime, axis_length: timedelta
) -> Iterator[Span]:
    ended = max(batch.ended or until, posted)
    phases = [(kind, since) for status, since in batch.phases if (kind := _PHASES.get(status))]
    if all(kind == "waiting" for kind, _ in phases):
        phases = [("running", posted)]  # it ended between two polls, so no running phase was seen
    starts = [posted, *(min(max(since, posted), ended) for _, since in phases[1:]), ended]
    for (kind, _), left, right in zip(phases, starts, starts[1:], strict=False):
        if right > left or len(phases) == 1:
            yield Span(kind, 100 * ((left - start) / axis_length), 100 * ((right - left) / axis_length))


def _ticks(start: datetime, axis_length: timedelta, zone: ZoneInfo) -> Iterator[tuple[float, str]]:
    step = next((step for step in _TICK_STEPS if axis_length / step <= _MAX_TICKS), None)
    if step is None:
        step = timedelta(days=-(-axis_length.days // _MAX_TICKS))
    time_format = (
        "%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M" if step < timedelta(days=1) else "%b %-d"
    )
    # Ticks at round local times, counted from midnight.
    midnight = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    tick = midnight + ((start - midnight) // step + 1) * step
    while tick <= start + axis_length:
        yield 100 * ((tick - start) / axis_length), tick.astimezone(zone).strftime(time_format)
        tick += step
