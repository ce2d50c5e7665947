"""Make the table of `plan --sample`: the first rows of a dataset, each with its rendered prompt. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tasks.runs.request import ResolvedRun
from tasks.runs.session import shard_limits
from tasks.stages.arrow_columns import strings
from tasks.stages.plan import RenderedRow, request_plans
from tasks.stages.prompt.render import Skip
from tasks.stages.report.page.samples import cell_text

if TYPE_CHECKING:
    import pandas as pd  # loaded by `to_pandas` alone


def preview(resolved: ResolvedRun, count: int) -> pd.DataFrame:
    """The first `count` rows: key columns, columns that the prompt reads, custom_id and rendered prompt."""
    job = resolved.job
    limits = job.provider.limits
    request_plan = request_plans(job, shard_limits(job, limits), limits.custom_id)[0]
    columns = dict.fromkeys((*job.source.key_columns, *request_plan.renderer.columns))
    return preview_table(list(request_plan.first_rows(count)), list(columns))


def preview_table(rows: Sequence[RenderedRow], columns: Sequence[str]) -> pd.DataFrame:
    """One line per row, values as text. The last two columns are added here, and may repeat a name of the source's."""
    texts = [[cell_text(row.values.column(name)) for row in rows] for name in columns]
    texts += [[row.custom_id for row in rows], [_prompt_text(row) for row in rows]]
    table = pa.Table.from_arrays(
        [strings(column_texts) for column_texts in texts], names=[*columns, "custom_id", "prompt"]
    )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _prompt_text(row: RenderedRow) -> str:
    if isinstance(row.prompt, Skip):
        return f"skipped: {row.prompt.message}"
    if len(row.prompt) == 1:
        return row.prompt[0][1]
    return "\n".join(f"[{name}] {text}" for name, text in row.prompt)
