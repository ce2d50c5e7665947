"""What earlier runs answered to a micro-batch's requests: found while a run is prepared, and kept beside its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from tasks.stages import arrow_columns
from tasks.stages.prompt.shard import Lines

FINGERPRINT_BYTES: Final = 16
RECALL_COLUMNS: Final = (
    ("fingerprint", pa.binary(FINGERPRINT_BYTES)),
    ("reuse_run", pa.string()),  # folder of the run that holds the answer; null: the row is asked
    ("reuse_chunk", pa.int32()),
    ("reuse_row", pa.int32()),  # in that chunk, from 0
    ("reuse_answered_at", pa.timestamp("us", tz="UTC")),  # when it was bought, by whichever run
    ("reuse_usd", pa.float64()),  # what it cost then; null where unknown
    ("same_as", pa.int32()),  # row of this chunk that asks the same, and whose outcome is this one's, too
)
"""The columns that `lines.parquet` has for a job with `reuse`, beside those of every job."""

Numbers = np.ndarray[Any, Any]


class Holder(NamedTuple):
    """A run folder, below the runs URL, that holds answers bought at that time."""

    folder: str
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class Recalled:
    """Of some rows: the fingerprints of their requests, and where an answer is. Arrays of one entry a row.

    `fingerprint` is a row of two 64-bit halves; `asked` is false where there is no request. `holder` is a place in
    `holders`, -1 where nobody has an answer; `chunk`, `row` and `usd` (NaN: unknown) mean nothing then.
    """

    fingerprint: Numbers
    asked: Numbers
    holder: Numbers
    chunk: Numbers
    row: Numbers
    usd: Numbers
    holders: Sequence[Holder]

    @property
    def found(self) -> Numbers:
        """Mask of the rows that need no request."""
        mask: Numbers = self.holder >= 0
        return mask

    def needed(self, lines: Lines) -> Lines:
        """The request lines without those that need not be posted."""
        if not self.found.any():
            return lines
        return [None if found else line for line, found in zip(lines, self.found.tolist(), strict=True)]

    def part(self, start: int, stop: int) -> Recalled:
        """The same of rows start..stop."""
        cut = slice(start, stop)
        return Recalled(
            self.fingerprint[cut],
            self.asked[cut],
            self.holder[cut],
            self.chunk[cut],
            self.row[cut],
            self.usd[cut],
            self.holders,
        )

    def keys(self) -> list[bytes]:
        """The fingerprints as bytes."""
        data = self.fingerprint.tobytes()
        return [data[at : at + FINGERPRINT_BYTES] for at in range(0, len(data), FINGERPRINT_BYTES)]

    def columns(self, copies: Sequence[tuple[int, int]] = ()) -> list[pa.Array]:
        """As `RECALL_COLUMNS` have it; `copies` are (row, row of the chunk that asks the same)."""
        same_as = np.full(len(self.holder), -1, np.int32)
        for row, first in copies:
            same_as[row] = first
        found = self.found
        times = np.array([int(h.answered_at.timestamp() * 1e6) for h in self.holders] or [0], np.int64)
        halves = pa.py_buffer(np.ascontiguousarray(self.fingerprint))
        known = found & ~np.isnan(self.usd)
        return [
            pa.Array.from_buffers(
                pa.binary(FINGERPRINT_BYTES), len(found), [arrow_columns.validity(self.asked), halves]
            ),
            arrow_columns.lookup([h.folder for h in self.holders], self.holder),
            arrow_columns.from_numpy(self.chunk.astype(np.int32), found),
            arrow_columns.from_numpy(self.row.astype(np.int32), found),
            arrow_columns.from_numpy(times[self.holder], found).view(pa.timestamp("us", tz="UTC")),
            arrow_columns.from_numpy(self.usd.astype(np.float64), known),
            arrow_columns.from_numpy(same_as, same_as >= 0),
        ]


class Recall(Protocol):
    """Looks micro-batches up."""

    def __call__(self, lines: Lines) -> Recalled:
        """What is known of these request lines."""
