"""What a job would post: its rows, their ids and their request lines, cut into chunks. Reads only.

`plan`, `render` and `prepare` all walk the same plan, so that a dry run cannot drift from the real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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
from tasks.stages.prompt.ids import DuplicateFinder, IdMaker, confirm_duplicates
from tasks.stages.prompt.recall import Recall, Recalled
from tasks.stages.prompt.render import MICRO_BATCH_ROWS, Renderer, Skip
from tasks.stages.prompt.shard import FileLimits, Lines, Piece, Sharder
from tasks.stages.prompt.token_sample import TokenSample
from tasks.stages.prompt.tokenizer import count_tokens, encoding_of
from tasks.stages.read import Dataset, column_names, open_dataset
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.prompt_cache import PRIMED_ROWS
from tasks.storage.prefetch import read_ahead

_CACHE_NOTES = {
    "mark": "prompt.cache: mark: requests that run side by side each pay for writing the cache, which the estimate leaves"
    " out; with prime, one of them does",
    "prime": "prompt.cache: prime: one row is posted before the others, which wait for its batch; what they save is not in"
    " the estimate",
}


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


def _are_enough(lines: Lines) -> bool:
    """Whether one request is to be posted before the others, by the first micro-batch: where that is full, others follow."""
    requests = sum(isinstance(line, bytes) for line in lines)
    return requests >= PRIMED_ROWS or len(lines) >= MICRO_BATCH_ROWS


def _size_of(batch: pa.RecordBatch) -> int:
    size: int = batch.nbytes
    return size


class RequestPlan:
    """A job over its dataset. Building one checks everything that can be checked without reading the rows.

    Raises ConfigError (InputError for the dataset) with the culprit and the next step.
    """

    def __init__(self, job: Job, limits: FileLimits, id_pattern: Any) -> None:
        self.recall: Recall | None = None  # set before the rows are walked: it needs the blank line
        self._reused: ReusedRequests | None = None
        self._job = job
        self._limits = limits
        everything = open_dataset(job.source) if job.source.columns is None else None
        names = everything.schema.names if everything else column_names(job.source)
        self._dialect = dialect(job.provider.dialect)
        self.cache_note: str | None = None
        prompt = self._cacheable(job.prompt)
        self._primes = prompt.cache == "prime"
        self.renderer = Renderer(self._request_tree(prompt), names)
        self.dataset: Dataset = everything or open_dataset(job.source, self.renderer.columns)
        self._ids = IdMaker(
            job.source.key_columns, id_pattern, numbered=job.source.duplicate_keys == "number"
        )
        self._dialect.parser_for(job.prompt)
        checker = checker_of(job.prompt)
        self.output_schema = output_schema(
            self.dataset.schema,
            job.output.prefix,
            answer=answer_column_of(job.prompt).type,
            parsed=checker and checker.type,
            carried=self.dataset.carried,
        )

    @cached_property
    def sample(self) -> TokenSample:
        """The exact counts behind the pieces' tokens; made once rows are walked, as the tokenizer takes a while to load."""
        return self._new_sample()

    def weigh_reused(self) -> ReusedRequests:
        """From here on, the requests that `recall` finds an answer for are weighed as well."""
        self._reused = ReusedRequests(self._new_sample())
        return self._reused

    def _new_sample(self) -> TokenSample:
        model = self._job.prompt.model
        return TokenSample(
            self.renderer.blank_line,
            lambda line: self._dialect.content_of(line, model),
            encoding_of(model),
        )

    @property
    def _used(self) -> Dataset:
        """The dataset with the columns that make ids and prompts."""
        return self.dataset.with_fewer_columns((*self._job.source.key_columns, *self.renderer.columns))

    @property
    def _asks_once(self) -> bool:
        return self._job.reuse is not None and self._job.reuse.duplicates

    @property
    def notes(self) -> list[str]:
        """What people should know of the job before they post it, a line each."""
        return [*self._dialect.notes(self._job.prompt), *([self.cache_note] if self.cache_note else [])]

    @property
    def prompt_key(self) -> str:
        """A hash of what is asked for every row alike and of whom: requests with one key are counted by the vendor alike."""
        unmarked = self._request_tree(self._job.prompt.model_copy(update={"cache": "none"}))
        asked = orjson.dumps(unmarked)  # templates and all
        return self._hash(self._job.prompt.endpoint.encode(), asked)

    @property
    def prompt_kind(self) -> str:
        """The same of its kind: who counts, the endpoint, and whether there is a schema."""
        prompt = self._job.prompt
        has_schema = prompt.answer_schema is not None or "response_format" in prompt.params
        return self._hash(prompt.endpoint.encode(), b"schema" if has_schema else b"")

    def _hash(self, *parts: bytes) -> str:
        provider = self._job.provider
        named = f"{provider.name} {provider.answered_by}".encode()
        return sha256(b"\n".join((named, *parts))).hexdigest()[:32]

    def preview(self) -> list[tuple[str, str]]:
        """The prompt of the first row, as (name, text) of each template. InputError when there is no row."""
        first = self.renderer.preview(next(self._used.batches(1)))
        return [("skipped", first.message)] if isinstance(first, Skip) else first

    def first_rows(self, count: int) -> Iterator[RenderedRow]:
        """The first `count` rows, or all there are, for people to look at. InputError when there is none."""
        done = 0
        for batch in self.dataset.batches(min(count, MICRO_BATCH_ROWS)):
            ids = self._ids.ids(batch, done)
            for place in range(min(batch.num_rows, count - done)):
                row = batch.slice(place, 1)
                yield RenderedRow(row, ids[place], self.renderer.preview(row))
            done += batch.num_rows
            if done >= count:
                return

    def counted_slices(self) -> Iterator[RowSlice]:
        """The same as `row_slices`, in less time: the rows lack the columns that neither ids nor prompts use."""
        return self._slices(self._used)

    def row_slices(self) -> Iterator[RowSlice]:
        """All rows in source order; raises InputError for duplicate ids once all have been seen."""
        return self._slices(self.dataset)

    def _slices(self, dataset: Dataset) -> Iterator[RowSlice]:
        sharder = Sharder(self._limits)
        duplicates = DuplicateFinder()
        row = 0
        for batch in read_ahead(dataset.batches(MICRO_BATCH_ROWS), weigh=_size_of):
            ids = self._ids.ids(batch, row)
            duplicates.add(ids)
            lines = self.renderer.lines(batch, ids)
            recalled = self.recall(lines) if self.recall else None
            needed = lines if recalled is None else recalled.needed(lines)
            if row == 0:
                sharder.first_alone = self._primes and _are_enough(needed)
            if recalled is not None and self._reused is not None:
                self._reused.add(lines, recalled)
            keys = recalled.keys() if recalled is not None and self._asks_once else None
            for piece in sharder.pieces(needed, self.sample.weights(needed), keys):
                start, stop = piece.start, piece.stop
                yield RowSlice(
                    row + start,
                    batch.slice(start, stop - start),
                    ids[start:stop],
                    piece,
                    recalled and recalled.part(start, stop),
                )
            row += batch.num_rows
        self._refuse(duplicates)

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
        return self._dialect.request_tree(prompt, self._job.provider)

    def _refuse(self, duplicates: DuplicateFinder) -> None:
        suspects = duplicates.suspects()
        duplicates.close()
        if not suspects:
            return
        found = confirm_duplicates(suspects, self._all_ids())
        if not found:
            return
        some = "; ".join(
            f"{key!r} in rows {', '.join(str(n + 1) for n in rows[:3])}" for key, rows in found[:3]
        )
        raise InputError(
            f"source.key: {self._shown_key} is not unique ({some});"
            " choose another key, or set source.duplicate_keys: number"
        )

    @property
    def _shown_key(self) -> str:
        return " + ".join(self._job.source.key_columns) or "the row number"

    def _all_ids(self) -> Iterator[list[str]]:
        row = 0
        for batch in self._used.batches(MICRO_BATCH_ROWS):
            yield self._ids.ids(batch, row)
            row += batch.num_rows
