"""Read a file of ready requests: a row for each line, with its request beside what says whose it is."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from configs.errors import InputError
from tasks.stages import arrow_columns
from tasks.stages.read.discover import is_unchanged
from tasks.stages.read.filters import Where
from tasks.stages.read.jsonl_lines import LineBlock, blocks
from tasks.stages.read.request_lines import RequestLine, parse_request
from tasks.storage.source_files import BadLine, BadLines, Fragment, SourceFilesystem

REQUEST_COLUMNS: Final = ("custom_id", "line", "url", "model")
"""The columns that go into the output; `line` is the number of the line in the file, from 1."""

_SCHEMA: Final = pa.schema(
    [
        ("custom_id", pa.string()),
        ("line", pa.int64()),
        ("url", pa.string()),
        ("model", pa.string()),
        ("form", pa.string()),
        ("endpoint", pa.string()),
        ("facts", pa.string()),
        ("tail", pa.large_binary()),
    ]
)
_Numbered = tuple[int, RequestLine]


@dataclass(frozen=True)
class ChosenLines:
    """The lines of a file, from its first one on, whose number in `groups` is `group`."""

    groups: npt.NDArray[np.uint8]
    group: int

    def of(self, block: LineBlock) -> Iterator[LineBlock]:
        """Those of a block, each as a block of its own."""
        first = block.line - 1
        lines = block.data.removesuffix(b"\n").split(b"\n")
        for place in np.flatnonzero(self.groups[first : first + len(lines)] == self.group).tolist():
            yield LineBlock(block.path, block.line + place, lines[place])


@dataclass(frozen=True)
class RequestFileReader:
    """Reads the one file of requests: `REQUEST_COLUMNS`, and the other fields of a `RequestLine`. `chosen` are the only lines that
    are read, None for all."""

    storage: SourceFilesystem
    skip: bool
    chosen: ChosenLines | None = None
    schema: Any = _SCHEMA
    notes: tuple[str, ...] = ()
    rows: int | None = field(default=None, init=False)

    @property
    def can_refuse(self) -> Collection[str]:
        """Every column: any line may be one that is no request."""
        names: list[str] = self.schema.names
        return names

    def read(
        self, fragment: Fragment, names: tuple[str, ...], rows: int, where: Where, bad: BadLines
    ) -> Generator[Any, None, None]:
        """Batches with the columns `names`. A line that is no request raises InputError, or counts in `bad`.

        InputError once all is read, if the file was written meanwhile: it is read more than once, and lines would be lost.
        """
        del where  # text has no statistics to prune with
        with self.storage.input_errors(fragment.path):
            for block in blocks(self.storage, fragment):
                requests = list(self._requests(block, bad))
                for start in range(0, len(requests), rows):
                    yield _batch(requests[start : start + rows]).select(names)
            if not is_unchanged(self.storage, fragment):
                raise InputError(
                    f"{self.storage.display_path(fragment.path)}: was written to while it was read; post it once it is whole"
                )

    def _requests(self, block: LineBlock, bad: BadLines) -> Iterator[_Numbered]:
        for line in block.lines() if self.chosen is None else self.chosen.of(block):
            try:
                yield line.line, parse_request(line.data.strip(b" \t\r"))
            except ValueError as error:
                reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
                if not self.skip:
                    raise InputError(f"{line.path}: line {line.line}: {reason}") from error
                bad.add(BadLine(line.path, line.line, reason))


def inspect_requests(
    storage: SourceFilesystem, fragments: tuple[Fragment, ...], *, skip: bool
) -> RequestFileReader:
    """The reader; nothing is read yet. InputError for more than one file."""
    if len(fragments) > 1:
        raise InputError(
            f"{storage.display_path(fragments[1].path)}: requests come in one file, and source.path holds"
            f" {len(fragments)}; name one, or join them"
        )
    return RequestFileReader(storage, skip)


def _batch(requests: Sequence[_Numbered]) -> pa.RecordBatch:
    numbers, lines = zip(*requests, strict=True)
    values = dict(zip(RequestLine._fields, zip(*lines, strict=True), strict=True))
    columns = {name: arrow_columns.strings(values[name]) for name in _TEXTS}
    columns["line"] = arrow_columns.build(numbers, pa.int64())
    columns["tail"] = _binary(values["tail"])
    return pa.RecordBatch.from_arrays([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


_TEXTS: Final = tuple(each.name for each in _SCHEMA if each.type == pa.string())


def _binary(values: Sequence[bytes]) -> pa.Array:
    sizes = np.fromiter(chain((0,), map(len, values)), np.int64, len(values) + 1)
    data = [None, pa.py_buffer(np.cumsum(sizes)), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.large_binary(), len(values), data)
