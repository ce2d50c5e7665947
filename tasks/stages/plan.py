"""What a job would post: its rows, their ids and their request lines, cut into chunks. Reads only.

`plan`, `render` and `prepare` all walk the same plan, so that a dry run cannot drift from the real one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from typing import Any

import orjson
import pyarrow as pa

from configs.errors import InputError
from configs.job import Job
from configs.prompt import Prompt
from tasks.stages.answers.columns import answer_column_of
from tasks.stages.answers.schema import checker_of
from tasks.stages.merge.merge_chunk import output_schema
from tasks.stages.prompt.file_cells import HeldRows, check_columns, file_reader
from tasks.stages.prompt.ids import DuplicateFinder, IdMaker, confirm_duplicates
from tasks.stages.prompt.recall import Recall, Recalled
from tasks.stages.prompt.render import MICRO_BATCH_ROWS, Renderer, Skip
from tasks.stages.prompt.shard import FileLimits, Lines, Piece, Sharder
from tasks.stages.prompt.token_sample import SampleSummary, TokenSample
from tasks.stages.prompt.tokenizer import count_tokens, encoding_of
from tasks.stages.ranges import Ranges
from tasks.stages.read import Dataset, column_names, open_dataset
from tasks.stages.read.request_files import REQUEST_COLUMNS
from tasks.stages.ready_requests.renderer import ReadyRenderer
from tasks.stages.ready_requests.survey import RequestGroup, survey
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.prompt_cache import PRIMED_ROWS

MicroBatch = tuple[Sequence[int], pa.RecordBatch, list[str]]
"""Rows that are asked: their numbers in the source from 0, themselves, their ids."""

_CACHE_NOTES = {
    "mark": "prompt.cache: mark: requests that run side by side each pay for writing the cache, which the estimate leaves"
    " out; with prime, one of them does",
    "prime": "prompt.cache: prime: one row is posted before the others, which wait for its batch; what they save is not in"
    " the estimate",
}


_INCLUDE_NOTE = "output.include: rows that take an answer over from a run without {} have null there; --redo asks all rows again"


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Rows of one chunk: the source's, their ids, and the piece of the request file they make. `recalled` is what was found
    of them among earlier answers, where that was looked for.
    """

    first_row: int
    rows: pa.RecordBatch
    ids: list[str]
    piece: Piece
    recalled: Recalled | None = None
    prompt: Prompt | None = None  # what their requests ask, where they say it themselves


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """One source row (a record batch of it alone), its id, and what each template makes of it as (where, text)."""

    values: pa.RecordBatch
    custom_id: str
    prompt: list[tuple[str, str]] | Skip


@dataclass
class ReusedRequests:
    """The requests that are not posted, as an earlier run answered them: how many, and their token units."""

    sample: TokenSample
    requests: int = 0
    units: int = 0

    def add(self, lines: Lines, recalled: Recalled) -> None:
        """Count those of a micro-batch."""
        places = recalled.found.nonzero()[0].tolist()
        self.requests += len(places)
        reused: list[bytes | Skip | None] = [None] * len(lines)
        for place in places:
            reused[place] = lines[place]
        payload = b"".join(line for line in reused if isinstance(line, bytes))
        self.units += self.sample.weights(reused).units(payload, places)


def _are_enough(lines: Lines, following: int) -> bool:
    """Whether one request is to be posted before the others, by the first lines and the rows of their micro-batch that follow:
    where that is full, others do."""
    requests = sum(isinstance(line, bytes) for line in lines) + following
    return requests >= PRIMED_ROWS or len(lines) + following >= MICRO_BATCH_ROWS


class RequestPlan:
    """A job over its dataset. Building one checks everything that can be checked without reading the rows.

    Raises ConfigError (InputError for the dataset) with the culprit and the next step.
    """

    def __init__(self, job: Job, limits: FileLimits, id_pattern: Any, range_rows: int | None = None) -> None:
        self._begin(job, limits)
        self._ranges = Ranges(range_rows) if range_rows else Ranges.of_whole_chunks(limits.max_requests)
        everything = open_dataset(job.source) if job.source.columns is None else None
        names = everything.schema.names if everything else column_names(job.source)
        prompt = self._cacheable(job.prompt)
        self._primes = prompt.cache == "prime"
        self.renderer: Renderer | ReadyRenderer = Renderer(self._request_tree(prompt), names)
        self.dataset: Dataset = everything or open_dataset(job.source, self.renderer.columns)
        self._ids = IdMaker(
            job.source.key_columns, id_pattern, numbered=job.source.duplicate_keys == "number"
        )
        check_columns(self.dataset.schema, self.renderer.file_columns, job.source)
        self._files = file_reader(job.source, self.renderer.file_columns)
        self._check_output(self.dataset.carried)

    def _begin(self, job: Job, limits: FileLimits) -> None:
        self.recall: Recall | None = None  # set before the rows are walked: it needs the blank line
        self._reused: ReusedRequests | None = None
        self.job = job
        self._limits = limits
        self._dialect = dialect(job.provider.dialect)
        self.cache_note: str | None = None
        self._primes = False
        self.files_read = self.file_bytes = 0  # of the rows that were walked last
        self._samples: dict[int, TokenSample] = {}  # of their ranges

    def _check_output(self, carried: Sequence[str]) -> None:
        prompt = self.job.prompt
        self._dialect.parser_for(prompt)
        checker = checker_of(prompt)
        self.output_schema = output_schema(
            self.rows_schema,
            self.job.output.prefix,
            answer=answer_column_of(prompt).type,
            parsed=checker and checker.type,
            carried=carried,
            include=self.job.output.include,
        )

    @property
    def rows_schema(self) -> pa.Schema:
        """The schema of the rows that are kept beside their requests."""
        return self.dataset.schema

    def summary(self) -> SampleSummary:
        """The exact counts behind the tokens of the rows that were walked last."""
        return reduce(SampleSummary.plus, (self.summary_of(number) for number in self._samples))

    def summary_of(self, number: int) -> SampleSummary:
        """The same of one range."""
        return self._samples[number].summary()

    @property
    def begins_anywhere(self) -> bool:
        """Whether a range can be made by itself: what rows bring in files, or have among earlier answers, is this process's."""
        alone = self.recall is None and not self.renderer.file_columns
        return alone and self.dataset.begins_anywhere

    @property
    def range_rows(self) -> int:
        """The rows of each range but the last. No chunk crosses a border."""
        return self._ranges.rows

    @property
    def ranges(self) -> int | None:
        """How many ranges the rows are cut into; None where only reading would tell."""
        rows = self.dataset.rows_hint
        return None if rows is None else self._ranges.count(rows)

    def range_of(self, row: int) -> int:
        """The range that a row of the source is in, from 0."""
        return self._ranges.range_of(row)

    def weigh_reused(self) -> ReusedRequests:
        """From here on, the requests that `recall` finds an answer for are weighed as well."""
        self._reused = ReusedRequests(self._new_sample())
        return self._reused

    def _new_sample(self) -> TokenSample:
        model = self.job.prompt.model
        return TokenSample(
            self.renderer.blank_line,
            lambda line: self._dialect.content_of(line, model),
            encoding_of(model),
            may_hold_media=self.renderer.may_hold_media,
        )

    @property
    def _used(self) -> Dataset:
        """The dataset with the columns that make ids and prompts."""
        return self.dataset.with_fewer_columns((*self.job.source.key_columns, *self.renderer.columns))

    @property
    def _asks_once(self) -> bool:
        return self.job.reuse is not None and self.job.reuse.duplicates

    @property
    def own_prompt(self) -> Prompt | None:
        """What the requests ask, where they say it themselves; None where the job does."""
        return None

    @property
    def notes(self) -> list[str]:
        """What people should know of the job before they post it, a line each."""
        kept = self.job.reuse is not None and self.job.output.include
        return [
            *self._dialect.notes(self.job.prompt),
            *([self.cache_note] if self.cache_note else []),
            *([_INCLUDE_NOTE.format(", ".join(self.job.output.include))] if kept else []),
        ]

    @property
    def prompt_key(self) -> str:
        """A hash of what is asked for every row alike and of whom: requests with one key are counted by the vendor alike."""
        unmarked = self._request_tree(self.job.prompt.model_copy(update={"cache": "none"}))
        asked = orjson.dumps(unmarked, default=lambda leaf: leaf.asked)  # templates and all
        return self._hash(self.job.prompt.endpoint.encode(), asked)

    @property
    def prompt_kind(self) -> str:
        """The same of its kind: who counts, the endpoint, and whether there is a schema."""
        prompt = self.job.prompt
        has_schema = prompt.answer_schema is not None or "response_format" in prompt.params
        return self._hash(prompt.endpoint.encode(), b"schema" if has_schema else b"")

    def _hash(self, *parts: bytes) -> str:
        provider = self.job.provider
        named = f"{provider.name} {provider.answered_by}".encode()
        return sha256(b"\n".join((named, *parts))).hexdigest()[:32]

    def preview(self) -> list[tuple[str, str]]:
        """The prompt of the first row, as (name, text) of each template. InputError when there is no row."""
        first = self._preview(next(self._used.batches(1)).slice(0, 1))
        return [("skipped", first.message)] if isinstance(first, Skip) else first

    def _preview(self, row: pa.RecordBatch) -> list[tuple[str, str]] | Skip:
        return self.renderer.preview(row, next(self._files.held_rows(row)).files)

    def first_rows(self, count: int) -> Iterator[RenderedRow]:
        """The first `count` rows, or all there are, for people to look at. InputError when there is none."""
        done = 0
        for batch in self.dataset.batches(min(count, MICRO_BATCH_ROWS)):
            ids = self._ids.ids(batch, self._numbers(batch, done))
            for place in range(min(batch.num_rows, count - done)):
                row = batch.slice(place, 1)
                yield RenderedRow(row, ids[place], self._preview(row))
            done += batch.num_rows
            if done >= count:
                return

    def counted_slices(self) -> Iterator[RowSlice]:
        """The same as `row_slices`, in less time: the rows lack the columns that neither ids nor prompts use."""
        return self._slices(self._used)

    def row_slices(self) -> Iterator[RowSlice]:
        """All rows in source order; raises InputError for duplicate ids once all have been seen."""
        return self._slices(self.dataset)

    def later_slices(self, first: int) -> Iterator[RowSlice]:
        """The same from range `first` on; the ids are not compared, which `refuse_duplicates` did before."""
        return self._cut_slices(self._rows(self.dataset, first))

    def slices_of_range(self, number: int, saw: Callable[[list[str]], None]) -> Iterator[RowSlice]:
        """The same of one range, of a plan that `begins_anywhere`; `saw` is told the ids."""
        return self._cut_slices(self._rows(self.dataset, number, number + 1), saw)

    def refuse_duplicates(self) -> int:
        """Read the ids and the columns that prompts use, and raise InputError as `row_slices` would; the rows there are."""
        duplicates = DuplicateFinder()
        rows = 0
        for _, batch, ids in self._rows(self._used):
            duplicates.add(ids)
            rows += batch.num_rows
        self.refuse(duplicates)
        return rows

    def _slices(self, dataset: Dataset) -> Iterator[RowSlice]:
        duplicates = DuplicateFinder()
        yield from self._cut_slices(self._rows(dataset), duplicates.add)
        self.refuse(duplicates)

    def _cut_slices(
        self, micro_batches: Iterator[MicroBatch], saw: Callable[[list[str]], None] | None = None
    ) -> Iterator[RowSlice]:
        number, sharder = -1, Sharder(self._limits)
        self.files_read = self.file_bytes = 0
        self._samples = {}
        for rows_at, batch, ids in micro_batches:
            if saw is not None:
                saw(ids)
            if self.range_of(rows_at[0]) != number:
                number, sharder = self.range_of(rows_at[0]), Sharder(self._limits)
                self._samples[number] = self._new_sample()
            for held in self._files.held_rows(batch):
                yield from self._cut(rows_at, batch, ids, held, sharder)
                count, size = held.count_and_bytes
                self.files_read += count
                self.file_bytes += size

    def _rows(self, dataset: Dataset, first: int = 0, stop: int | None = None) -> Iterator[MicroBatch]:
        """The rows that are asked, in micro-batches of one range each, from range `first` on and up to `stop`."""
        for row, batch in self._ranges.batches(dataset, first, stop):
            numbers = self._numbers(batch, row)
            yield numbers, batch, self._ids.ids(batch, numbers)

    def _numbers(self, batch: pa.RecordBatch, first_row: int) -> Sequence[int]:
        """The numbers of the rows in the source, from 0."""
        return range(first_row, first_row + batch.num_rows)

    def _cut(
        self,
        rows_at: Sequence[int],
        batch: pa.RecordBatch,
        ids: list[str],
        held: HeldRows,
        sharder: Sharder,
    ) -> Iterator[RowSlice]:
        """Some rows of a micro-batch, rendered and cut into chunks."""
        rows_at, ids = rows_at[held.start : held.stop], ids[held.start : held.stop]
        rows, following = held.of(batch), batch.num_rows - held.stop
        lines = self.renderer.lines(rows, ids, held.files)
        recalled = self.recall(lines) if self.recall else None
        needed = lines if recalled is None else recalled.needed(lines)
        if rows_at and rows_at[0] == 0:
            sharder.first_alone = self._primes and _are_enough(needed, following)
        if recalled is not None and self._reused is not None:
            self._reused.add(lines, recalled)
        keys = recalled.keys() if recalled is not None and self._asks_once else None
        weights = self._samples[self.range_of(rows_at[0])].weights(needed)
        for piece in sharder.pieces(needed, weights, keys):
            start, stop = piece.start, piece.stop
            yield RowSlice(
                rows_at[start],
                self._kept(rows.slice(start, stop - start)),
                ids[start:stop],
                piece,
                recalled and recalled.part(start, stop),
                self.own_prompt,
            )

    def _kept(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """What is kept of the rows beside their requests."""
        return rows

    def _cacheable(self, prompt: Prompt) -> Prompt:
        """The prompt as it is posted: not for a cache that takes no text as short as what its rows share."""
        cache = self._dialect.cache
        if cache is None or prompt.cache == "none":
            return prompt
        encoding = encoding_of(prompt.model)
        texts = cache.shared_texts(self._request_tree(prompt))
        count = sum(count_tokens(text, encoding) for text in texts)
        if not cache.is_too_short(count, prompt.model):
            self.cache_note = _CACHE_NOTES[prompt.cache]
            return prompt
        self.cache_note = (
            f"prompt.cache: all rows share about {count:,} tokens, and {prompt.model} caches from"
            f" {cache.minimum(prompt.model):,} on; nothing is marked"
        )
        return prompt.model_copy(update={"cache": "none"})

    def _request_tree(self, prompt: Prompt) -> dict[str, Any]:
        return self._dialect.request_tree(prompt, self.job.provider)

    def refuse(self, duplicates: DuplicateFinder) -> None:
        """Raise InputError where the ids that were all added there are not unique."""
        suspects = duplicates.suspects()
        duplicates.close()
        found = confirm_duplicates(suspects, self._all_ids()) if suspects else []
        if found:
            raise self._not_unique(found)

    def _not_unique(self, found: Sequence[tuple[str, list[int]]]) -> InputError:
        """What is said of ids that several rows have."""
        some = "; ".join(
            f"{key!r} in rows {', '.join(str(n + 1) for n in rows[:3])}" for key, rows in found[:3]
        )
        return InputError(
            f"source.key: {self._shown_key} is not unique ({some});"
            " choose another key, or set source.duplicate_keys: number"
        )

    @property
    def _shown_key(self) -> str:
        return " + ".join(self.job.source.key_columns) or "the row number"

    def _all_ids(self) -> Iterator[tuple[Sequence[int], list[str]]]:
        return ((numbers, ids) for numbers, _, ids in self._rows(self._used))


class GroupPlan(RequestPlan):
    """One group of a file of ready requests: those that may share a batch (see `tasks.stages.ready_requests.survey`)."""

    def __init__(
        self,
        job: Job,
        group: RequestGroup,
        dataset: Dataset,
        limits: FileLimits,
        id_pattern: Any,
    ) -> None:
        self._begin(job.model_copy(update={"prompt": group.prompt}), limits)
        self._ranges = Ranges(sys.maxsize)  # one: it is prepared whole
        self._group, self._lines = group, dataset.of_lines(group.lines)
        self.renderer = ReadyRenderer(job.provider.dialect, group.prompt, may_hold_media=group.has_media)
        self.dataset = dataset
        self._files = file_reader(job.source, self.renderer.file_columns)
        self._ids = IdMaker(("custom_id",), id_pattern)
        self._check_output(REQUEST_COLUMNS)

    @property
    def rows_schema(self) -> pa.Schema:
        """Their requests are in the request files alone."""
        return pa.schema([self.dataset.schema.field(name) for name in REQUEST_COLUMNS])

    @property
    def own_prompt(self) -> Prompt:
        """What the group's requests have in common."""
        return self._group.prompt

    @property
    def notes(self) -> list[str]:
        """None: nothing here was written for them."""
        return []

    @property
    def prompt_key(self) -> str:
        """A hash of the file: other files ask something else."""
        return self._hash(self.dataset.fingerprint.encode())

    @property
    def _used(self) -> Dataset:
        return self._lines

    def row_slices(self) -> Iterator[RowSlice]:
        """The group's rows in the order of the file; raises InputError where two have the same id at the provider."""
        return self.counted_slices()

    def preview(self) -> list[tuple[str, str]]:
        """The group's first request."""
        first = self.renderer.preview(next(self._rows(self._lines))[1])
        return [("skipped", first.message)] if isinstance(first, Skip) else first

    def _numbers(self, batch: pa.RecordBatch, first_row: int) -> Sequence[int]:
        """By their lines, of which the group has some."""
        del first_row
        return [line - 1 for line in batch.column("line").to_pylist()]

    def _not_unique(self, found: Sequence[tuple[str, list[int]]]) -> InputError:
        posted, (first, second, *_) = found[0]
        return InputError(
            f"{self.job.source.path}: lines {first + 1} and {second + 1}: both would be posted under the id {posted!r},"
            f" which stands for a custom_id that {self.job.provider.title} does not take; change one of the two"
        )

    def _kept(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return rows.select(REQUEST_COLUMNS)


def request_plans(job: Job, limits: FileLimits, id_pattern: Any) -> tuple[RequestPlan, ...]:
    """What the job would post: one plan, or one for each group of its file of ready requests.

    Raises as `RequestPlan` does; a file of requests is read and checked whole.
    """
    if job.source.format != "requests":
        return (RequestPlan(job, limits, id_pattern),)
    dataset = open_dataset(job.source)
    groups = survey(job, dataset, limits)
    return tuple(GroupPlan(job, group, dataset, limits, id_pattern) for group in groups)
