"""Read CSV files: text stays text, with typed columns only where the job names a type, never inferred.

Arrow parses; where a line is at fault, `csv_text` reads the file a second time, slowly, to name the line.
"""

from __future__ import annotations

import codecs
import functools
from collections import deque
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from configs.errors import InputError
from configs.job import Source
from tasks.stages.arrow_columns import strings
from tasks.stages.read.columns import check_distinct_names, check_same_columns
from tasks.stages.read.csv_text import (
    END_RECORD,
    MAX_RECORD_BYTES,
    UNDECODABLE,
    BlockReader,
    CsvHeader,
    CsvText,
    Utf8Stream,
)
from tasks.stages.read.discover import format_ending
from tasks.stages.read.filters import Where
from tasks.stages.read.values import TYPES, first_invalid, parse_text
from tasks.storage.source_files import BadLine, BadLines, Fragment, SourceFilesystem
from tasks.storage.urls import one_line

_BLOCK = 1 << 20


@dataclass(frozen=True)
class CsvReader:
    """Reads the CSV files of a dataset.

    `schema` is that of the first file, with the types the job asks for; `headers` has each file's by path.
    """

    storage: SourceFilesystem
    source: Source
    schema: Any
    headers: dict[str, CsvHeader]
    block: int = _BLOCK
    rows: int | None = field(default=None, init=False)
    notes: tuple[str, ...] = field(default=(), init=False)

    @property
    def can_refuse(self) -> Collection[str]:
        """Every column: any line may be one that cannot be taken."""
        names: list[str] = self.schema.names
        return names

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches with the columns `names`. A line that cannot be taken raises InputError, or counts in `bad`.

        Bytes that cannot be decoded only matter in the columns that are read.
        """
        del where  # text has no statistics to prune with
        scan = _CsvScan(self, fragment, names)
        with self.storage.input_errors(fragment.path):
            try:
                for batch in scan.batches():
                    bad.total += scan.newly_left_out()
                    yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))
            finally:
                bad.total += scan.newly_left_out()
                bad.examples.extend(scan.examples(bad.examples_wanted))


class _CsvScan:
    """One pass over one file."""

    def __init__(self, reader: CsvReader, fragment: Fragment, names: tuple[str, ...]) -> None:
        self._header = reader.headers[fragment.path]
        self._text = csv_text(reader.storage, fragment, reader.source)
        self._width = len(self._header.names)
        place = {name: index for index, name in enumerate(self._header.names)}
        self._used = [place[name] for name in names]
        self._schema = pa.schema([reader.schema.field(name) for name in names])
        self._block = reader.block
        self._skip = reader.source.bad_lines == "skip"
        self._fill = reader.source.bad_lines == "fill"
        # Records left out: with another number of fields; with bytes that cannot be decoded; in all, as told so far.
        self._ragged = self._undecodable = self._left_out = 0

    def batches(self) -> Iterator[Any]:
        """Typed batches of the good records."""
        row = 0
        for texts in self._filled() if self._fill else self._texts():
            if texts.num_rows:
                yield self._typed(texts, row)
                row += texts.num_rows

    def newly_left_out(self) -> int:
        """Lines left out since the last call."""
        before = self._left_out
        self._left_out = max(before, self._ragged + self._undecodable)
        return self._left_out - before

    def examples(self, most: int) -> Iterator[Any]:
        """Up to `most` of the lines left out."""
        most = min(most, self._left_out)
        return islice(self._text.bad_lines(self._header, self._used), most) if most else iter(())

    def _filled(self) -> Iterator[Any]:
        """Batches of text with empty fields where a line ends early; by Python's csv module, as Arrow cannot do it."""
        rows: list[list[str]] = []
        size = 0
        for line, fields in self._text.records(self._header):
            row = fields + [""] * (self._width - len(fields))
            problem = self._text.problem(row, self._width, self._used)
            if problem:
                raise InputError(f"{self._text.display_path}: line {line}: {problem}; correct it")
            rows.append([row[place] for place in self._used])
            size += sum(map(len, fields))
            if size >= self._block:
                yield self._text_batch(rows)
                rows, size = [], 0
        if rows:
            yield self._text_batch(rows)

    def _text_batch(self, rows: list[list[str]]) -> Any:
        columns = [strings(values) for values in zip(*rows, strict=True)]
        return pa.RecordBatch.from_arrays(columns, names=self._schema.names)

    def _texts(self) -> Iterator[Any]:
        """Batches of text; the file is parsed again with larger blocks where a record does not fit into one."""
        done, block = 0, self._block
        while True:
            skip = done
            try:
                for batch, marked in self._parsed(block):
                    new_rows = batch.slice(skip)
                    skip -= batch.num_rows - new_rows.num_rows
                    yield self._decodable(new_rows) if marked else new_rows
                    done += new_rows.num_rows
            except pa.ArrowInvalid as error:
                block *= 8
                if not _block_too_small(error) or block > MAX_RECORD_BYTES:
                    raise self._input_error(error) from error
            else:
                return

    def _parsed(self, block: int) -> Iterator[tuple[Any, bool]]:
        """Text batches without END_RECORD, each with whether bytes that cannot be decoded were met so far."""
        self._ragged = 0
        with (
            self._text.open(self._width, self._header.lines, checked=self._skip) as text,
            # Closed by hand: its thread reads through Python, which a process on its way out does not survive.
            self._open_csv(text, block) as reader,
        ):
            previous = (
                None  # one batch behind: the last one ends with END_RECORD, and which one is last shows late
            )
            for batch in reader:
                if batch.num_rows:
                    if previous is not None:
                        yield previous, text.marked
                    previous = batch
            if previous is None or previous.column(0)[-1].as_py() != END_RECORD:
                self._raise_unclosed_quote()
            else:
                yield previous.slice(0, previous.num_rows - 1), text.marked

    def _open_csv(self, text: Utf8Stream, block: int) -> Any:
        return pa_csv.open_csv(
            pa.PythonFile(BlockReader(text, block), mode="r"),
            # By place: a header may have a name twice.
            read_options=pa_csv.ReadOptions(
                block_size=block, use_threads=False, column_names=[str(place) for place in range(self._width)]
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._text.delimiter,
                quote_char=self._text.quote,
                escape_char=self._text.escape or False,
                newlines_in_values=True,
                ignore_empty_lines=self._width > 1,
                invalid_row_handler=self._on_ragged if self._skip else None,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types={str(place): pa.string() for place in self._used},
                include_columns=[str(place) for place in self._used],
            ),
        )

    def _on_ragged(self, row: Any) -> str:
        del row
        self._ragged += 1
        return "skip"

    def _decodable(self, batch: Any) -> Any:
        """The records that could be decoded; under `bad_lines: error`, InputError when there are others."""
        bad = functools.reduce(pc.or_, (pc.match_substring(column, UNDECODABLE) for column in batch.columns))
        good = batch.filter(pc.invert(bad))
        if good.num_rows < batch.num_rows and not self._skip:
            raise self._input_error(ValueError(f"not {self._text.encoding} text"))
        self._undecodable += batch.num_rows - good.num_rows
        return good

    def _typed(self, texts: Any, row: int) -> Any:
        """The batch with the types of the schema; `row` is the number of good records before it."""
        columns = []
        for column, target in zip(texts.columns, self._schema, strict=True):
            try:
                columns.append(parse_text(column, target.type))
            except pa.ArrowInvalid as error:
                index = first_invalid(column, target.type)
                line = self._text.line_of(row + index, self._header, self._used)
                value = one_line(ValueError(column[index].as_py()), 80)
                raise InputError(
                    f"{self._text.display_path}: line {line}: {value!r} in column {target.name!r} is not {target.type}; "
                    "correct it, or take the column out of source.types"
                ) from error
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _input_error(self, error: Exception) -> InputError:
        """The error with the line at fault, found by reading the file again."""
        first = next(self._text.bad_lines(self._header, self._used), None)
        if first is not None:
            return InputError(
                f"{self._text.display_path}: line {first.line}: {first.reason}; {self._advice(first)}"
            )
        if _block_too_small(error):
            return InputError(
                f"{self._text.display_path}: a record is larger than {MAX_RECORD_BYTES >> 20} MB; check source.csv.quote"
            )
        return InputError(
            f"{self._text.display_path}: not readable as CSV ({one_line(error)}); check source.csv"
        )

    def _advice(self, bad: BadLine) -> str:
        if not bad.reason.startswith("has "):
            return self._text.encoding_advice
        if self._width == 1:  # a title, most often
            skip = f"if this is the header, set source.csv.skip_lines: {bad.line - 1}"
            return f"{skip}; else correct it, or set source.bad_lines: skip"
        return "correct it, or set source.bad_lines: skip (or fill, for lines that are too short)"

    def _raise_unclosed_quote(self) -> None:
        deque(self._text.records(self._header), maxlen=0)  # raises with the line
        raise InputError(f"{self._text.display_path}: ends inside a quoted field; check source.csv.quote")


def inspect_csv(
    storage: SourceFilesystem, fragments: tuple[Fragment, ...], source: Source, only: frozenset[str] | None
) -> CsvReader:
    """Read the headers and check that the files fit together. Raises InputError."""
    _check_options(source)
    first_path = storage.display_path(fragments[0].path)
    headers: dict[str, CsvHeader] = {}
    for fragment in fragments:
        text = csv_text(storage, fragment, source)
        header = headers[fragment.path] = text.header()
        check_distinct_names(header.names, text.display_path, only)
        first = headers[fragments[0].path].names
        check_same_columns(text.display_path, header.names, first_path, first, only)
    names = dict.fromkeys(headers[fragments[0].path].names)
    schema = pa.schema([pa.field(name, TYPES[source.types.get(name, "string")]) for name in names])
    return CsvReader(storage, source, schema, headers)


def csv_text(storage: SourceFilesystem, fragment: Fragment, source: Source) -> CsvText:
    """A fragment's text as the job describes it; a .tsv is split at tabs unless the job says otherwise."""
    csv = source.csv
    return CsvText(
        storage,
        fragment,
        csv.encoding,
        csv.delimiter or ("\t" if format_ending(fragment.path) == ".tsv" else ","),
        csv.quote,
        csv.escape,
        csv.skip_lines,
        said_delimiter=csv.delimiter,
    )


def _check_options(source: Source) -> None:
    csv = source.csv
    marks = {"delimiter": csv.delimiter or ",", "quote": csv.quote, "escape": csv.escape}
    for name, char in marks.items():
        if char and (not char.isascii() or char in "\r\n\0"):
            raise InputError(f"source.csv.{name}: {char!r} does not work; use one ASCII character")
    for one, other in combinations(marks, 2):
        if marks[one] is not None and marks[one] == marks[other]:
            raise InputError(f"source.csv: {one} and {other} are the same character; change one")
    try:
        codecs.lookup(source.csv.encoding)
        "".encode(source.csv.encoding)
    except LookupError as error:
        raise InputError(
            f"source.csv.encoding: {source.csv.encoding!r} is no text codec of Python; try utf-8 or cp1252"
        ) from error


def _block_too_small(error: Exception) -> bool:
    """Whether Arrow failed because a record did not fit into a block."""
    text = str(error)
    return any(part in text for part in ("straddling object", "out of sync", "Empty CSV file or block"))
