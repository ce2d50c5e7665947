"""Rows that take over what was asked for another row, of an earlier run or of their own chunk: which columns, and how they
come among those of the other rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.stages import arrow_columns
from tasks.stages.merge.lines import STATUSES, TOKENS, Numbers
from tasks.stages.output_columns import BY_CHOICE
from tasks.stages.row_status import RowStatus

TAKEN_OVER: Final = (
    "answer",
    "parsed",
    "status",
    "error_code",
    "error_message",
    "finish_reason",
    "model",
    "custom_id",
    "batch_id",
    "lane",
    "reused_from",
    *BY_CHOICE,
)
"""The columns of the original, and the run that bought it. What this run paid is nothing: no attempt, token or dollar."""
MAY_LACK: Final = frozenset({"lane", *BY_CHOICE})
"""Those that the original may not have: its run did not include them, or was of a version without."""

REUSED: Final = STATUSES.index(RowStatus.REUSED)


class EarlierAnswers(Protocol):
    """Where the answers come from."""

    def gather(self, types: Mapping[str, pa.DataType]) -> None:
        """Called once, with the types of the output's columns."""

    def take(self, lo: int, hi: int) -> dict[str, pa.Array]:
        """The columns of those of the chunk's rows lo..hi that take an answer over; there is at least one."""


def put_among(
    columns: dict[str, pa.Array], takers: Numbers, taken: dict[str, pa.Array], prefix: str = ""
) -> None:
    """Put the taken columns of the `takers` (a mask) among `columns`, whose names begin with `prefix`; they took no tokens."""
    places = np.arange(len(takers))
    places[takers] = len(takers) + np.arange(int(takers.sum()))
    for name, column in taken.items():
        both = pa.concat_arrays([columns[prefix + name], column])
        columns[prefix + name] = both.take(arrow_columns.indices(places))
    nought = arrow_columns.scalar(0, pa.int64())
    for name in TOKENS:
        columns[prefix + name] = pc.if_else(arrow_columns.mask(takers), nought, columns[prefix + name])


def take_over(
    columns: dict[str, pa.Array], status: Numbers, reused: Numbers, taken: dict[str, pa.Array]
) -> None:
    """Put the taken columns of the `reused` rows (a mask) among `columns`, and their statuses into `status`.

    A good answer makes its row `reused`; one that was truncated, refused or invalid stays so.
    """
    put_among(columns, reused, {name: column for name, column in taken.items() if name != "status"})
    codes = status_codes(taken["status"])
    status[reused] = np.where(codes == STATUSES.index(RowStatus.SUCCEEDED), REUSED, codes)


def status_codes(words: pa.Array) -> Numbers:
    """The place of each status in STATUSES."""
    codes: Any = pc.index_in(words, value_set=arrow_columns.strings([str(each) for each in STATUSES]))
    return arrow_columns.to_numpy(codes)
