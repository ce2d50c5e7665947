"""Cells that a test has as Python values: there are more of those than Arrow has columns for."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tasks.stages.prompt.cells import Cells


class GivenCells(Cells):
    """One list of values a column."""

    def __init__(self, values: dict[str, list[Any]]) -> None:
        super().__init__(pa.RecordBatch.from_arrays([], names=[]), tuple(values))
        self._values = values

    def _cut_out(self, name: str) -> None:
        """No column to cut texts out of."""
