"""llm-batch-py: a job over a frame, run until nothing is under way. Its token counts, which need a download, are left out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import llm_batch_py.providers.openai as provider
import llm_batch_py.runner as runner_module
import polars as pl
from common import FILE_LINES, MODEL, POLL_SECONDS, SYSTEM, main
from llm_batch_py import (
    BatchConfig,
    OpenAIConfig,
    ResultCacheStoreConfig,
    Runner,
    StructuredOutputJob,
    structured_template,
)
from pydantic import BaseModel, ConfigDict


def _leave_token_counts_out() -> None:
    """tiktoken fetches its vocabulary from the network."""
    for module in (provider, runner_module):
        if hasattr(module, "estimate_openai_tokens"):
            module.estimate_openai_tokens = lambda model, body: 100
        if hasattr(module, "estimate_openai_batch_tokens"):
            module.estimate_openai_batch_tokens = lambda model, bodies: [100 for _ in bodies]


class Label(BaseModel):
    """The answer; a strict schema forbids other fields."""

    model_config = ConfigDict(extra="forbid")
    label: str


def drive(rows: list[dict[str, Any]], out: Path) -> list[str | None]:
    """The same run again and again until each row has its answer."""
    _leave_token_counts_out()
    frame = pl.DataFrame(rows)
    template = structured_template(
        system=SYSTEM,
        messages="Product: {{ row.title }} ({{ row.category }})\nReview: {{ row.text }}\nClassify the review.",
        name="review",
        version="1",
    )
    job = StructuredOutputJob(
        name="reviews",
        key_cols=["id"],
        input_df=frame,
        prompt_builder=template,
        output_model=Label,
        provider=OpenAIConfig(model=MODEL, base_url=os.environ["OPENAI_BASE_URL"], timeout=600.0),
        result_cache=ResultCacheStoreConfig(root_uri=str(out / "cache")),
        batch=BatchConfig(batch_size=FILE_LINES),
    )
    runner = Runner()
    while True:
        result = runner.run(job)
        if not runner.last_summary.inflight_rows and not runner.last_summary.submitted_rows:
            break
        time.sleep(POLL_SECONDS)
    found = dict(zip(result["id"].to_list(), result["label"].to_list(), strict=True))
    return [found.get(row["id"]) for row in rows]


main(drive)
