"""The plan: what a run would do, counted by a dry run, as one published JSON document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, computed_field

from tasks.stages.report.budget_state import BudgetState
from tasks.stages.report.document import Document, Timestamp
from tasks.stages.report.estimate import CostRange, Estimate


class PlannedReuse(Document):
    """Rows that would take over an earlier answer."""

    rows: int = Field(description="Rows that would take over an earlier answer.")
    total_usd: CostRange = Field(
        description="Price of all requests, prompts and answers, if these rows were asked too."
    )


class Duplicates(Document):
    """Rows whose request is the same as that of a row before them."""

    rows: int = Field(description="Such rows, those left out that have an earlier answer.")
    usd: CostRange = Field(description="Their price, prompts and answers, at the average of all requests.")
    asked_once: bool = Field(
        description="Whether `reuse.duplicates` is on, which asks once what rows of a chunk ask."
    )


class PlannedGroup(Document):
    """Ready requests of one model and endpoint: batches take no others beside them."""

    endpoint: str = Field(description="Their endpoint.")
    model: str = Field(description="Their model.")
    batches: int = Field(description="Batches that they make.")
    requests: int = Field(description="How many are posted.")
    bytes: int = Field(description="Size of their request files.")
    estimate: Estimate = Field(description="Their tokens and price.")


class PlannedDeadline(Document):
    """When the rows that are left would be asked by real-time calls, and how many of them at most."""

    at: Timestamp = Field(description="When it is, for a run that begins now.")
    lane: str = Field(description="Which calls: `standard` or `flex`.")
    max_rows: int | None = Field(description="Most rows; null for no limit but the other.")
    max_usd: float | None = Field(description="Most that they may cost; null for no limit but the other.")
    price_source: str | None = Field(description="Where their price comes from; null when it is unknown.")
    all_usd: float | None = Field(
        description="What all rows would cost so, with answers as long as the job lets them be; null when unknown."
    )


class Plan(Document):
    """What a run would post and where its rows would go. Nothing was written or posted for it."""

    version: Literal[1] = Field(1, description="Version of this format.")
    job: str = Field(description="Name of the job.")
    key: str = Field(
        description="Key of the run: its logical date, or the name it was given; that of a trial ends in `.trial`."
    )
    job_file: str = Field(description="Path of the job file.")
    command: str = Field("", description="The command that does it.")
    trial_command: str | None = Field(
        None, description="The command that tries it with a few rows first; null where that would be as many."
    )
    source: str = Field(description="Path of the dataset.")
    output: str = Field(description="Path of the enriched dataset.")
    provider: str = Field(description="Batch service that would be asked.")
    endpoint: str = Field(
        description="Endpoint of the requests; of a file of requests all of them, with commas."
    )
    model: str = Field(description="Model that would be asked; likewise.")
    rows: int = Field(description="Rows of the dataset.")
    chunks: int = Field(description="Chunks of rows.")
    batches: int = Field(description="Chunks with rows to post, each of them one batch.")
    requests: int = Field(description="Rows that would be posted.")
    bytes: int = Field(description="Size of the request files.")
    skipped: int = Field(description="Rows that would not be posted.")
    skips: dict[str, int] = Field(description="The same by reason.")
    bad_lines: int = Field(description="Lines of the source that are left out as the job says.")
    notes: tuple[str, ...] = Field(
        (),
        description="What to know before posting: what is read differently from how the files have it, schemas that are"
        " not enforced, and the like.",
    )
    estimate: Estimate = Field(description="Tokens and price, of the prompts and with the answers.")
    reuse: PlannedReuse | None = Field(
        None, description="What earlier runs have answered; null for a job without `reuse`."
    )
    duplicates: Duplicates | None = Field(
        None, description="Rows that ask what another row of the run asks; null where there are none."
    )
    deadline: PlannedDeadline | None = Field(
        None,
        description="When real-time calls would be made for the rest; null for a job without `deadline`.",
    )
    budgets: tuple[BudgetState, ...] = Field(
        (), description="The budgets that would hold for its batches, as they stand now."
    )
    groups: tuple[PlannedGroup, ...] = Field(
        (), description="Of a file of requests: those of each model and endpoint."
    )
    first_prompt: str = Field(description="The first row's prompt, a part a line.")

    @computed_field(description="The same as `estimate.prompt_tokens`.")
    def prompt_tokens(self) -> int:
        """Kept for programs written before there was an `estimate`."""
        return self.estimate.prompt_tokens

    @computed_field(description="The same as `estimate.method`.")
    def tokens_method(self) -> str:
        """Kept for programs written before there was an `estimate`."""
        return self.estimate.method

    @computed_field(description="The same as `estimate.cost_usd`.")
    def prompt_cost_usd(self) -> float | None:
        """Kept for programs written before there was an `estimate`."""
        return self.estimate.cost_usd
