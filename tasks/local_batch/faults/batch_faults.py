"""Faults of a whole batch, for tests: what batch services have been seen to do wrong, asked for by a batch's metadata.

A batch asks for them under `nightmail_faults`: words separated by commas, or a JSON list of them. A word may take
arguments after colons, and `*N` at its end: only the first N batches with these very faults obey. `*CHUNK/ATTEMPT` is that
batch of a run, in whatever order they are created.

    expire_after:0.9         expires when that share of the rows is answered
    cancel_after:0.5         is cancelled (by someone else) at that share; `cancel-partial` is this at 0.5
    fail:CODE                fails validation: token_limit_exceeded, file_access, mismatched_model, insufficient_quota and
                             the others of an account that cannot pay, any other code;
                             `fail:CODE:N` is `fail:CODE*N`, and N is 1 unless told
    hold_after:0.5           answers that share and no more, and stays in_progress until it is cancelled
    stuck:STATUS             stays validating, in_progress or finalizing until it is cancelled
    status:WORD:N            shows an unknown status word, N times (default 2)
    null_output_id:N         completed, but output_file_id comes N retrieves later (default 2)
    empty_error_file         an error file of 0 bytes
    error_id_empty_string    error_file_id is "" when there is none
    null_counts, zero_counts request_counts are null, or 0, for ever
    failed_rows_in_output    failed rows are in the output file; request_counts.failed is 0
    duplicate_lines, missing_lines, unknown_ids, foreign_ids (every line's), malformed_line, truncated_last_line,
    glued_lines              in the output file
    row_error:STATUS:WHICH   those rows fail with that HTTP status
    unpaid:WHICH             those rows fail since the account cannot pay
    refusal:WHICH  length:WHICH  content_filter:WHICH  invalid_json:WHICH  empty:WHICH    200, but no use
    fenced:WHICH             the answer is in a fence, behind a thought
    raw_u2028:WHICH          answers with every awkward character, see AWKWARD in `corrupt_answers`
    body_as_string:WHICH     response.body is a string that holds the JSON

WHICH is a share of the rows such as 0.1 (by a hash of the custom_id), or custom_ids joined by `|`; all unless told.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from tasks.local_batch.faults.corrupt_answers import CORRUPTIONS, is_selected
from tasks.local_batch.faults.corrupt_files import FILE_FAULTS, write_corrupt_files
from tasks.local_batch.faults.unpaid import UNPAID
from tasks.local_batch.protocol.batch_object import StoredBatch
from tasks.local_batch.protocol.file_object import ResultKind
from tasks.local_batch.protocol.lines import Answer, EarlyEnding
from tasks.local_batch.state.store import Store
from tasks.stages.validate import Problem

METADATA_KEY: Final = "nightmail_faults"
_ALL: Final = 1 << 31
_EARLY_ENDS: Final[tuple[tuple[str, EarlyEnding], ...]] = (
    ("expire_after", "expired"),
    ("cancel_after", "cancelled"),
    ("hold_after", "cancelled"),
)
# Texts of OpenAI: the first as people reported it (openai-python issues 1643 and 2084), the second as documented.
_VALIDATION_MESSAGES: Final = {
    "token_limit_exceeded": (
        "Enqueued token limit reached for {model} in organization org-local. Limit: 2,000,000 enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    ),
    "mismatched_model": "Each batch must contain requests for a single model.",
    **{code: refusal.message for code, refusal in UNPAID.items()},
}


@dataclass(frozen=True)
class Fault:
    """One fault as it is written, `word:arg:arg*first`; only the `first` so many batches with it obey, or the one whose
    submission key ends in `key`."""

    word: str
    args: tuple[str, ...] = ()
    first: int | None = None
    key: str = ""


@dataclass(frozen=True)
class EarlyEnd:
    """The batch ends as `ending` once `rows` rows are answered."""

    rows: int
    ending: EarlyEnding


def parse(text: str) -> tuple[Fault, ...]:
    """The faults of a metadata value; a word that is not in the list above has no effect."""
    # Words may hold commas themselves (custom_ids): those are given as a JSON list.
    items = orjson.loads(text) if text.lstrip().startswith("[") else text.split(",")
    return tuple(_parse_one(str(item).strip()) for item in items if str(item).strip())


def _parse_one(text: str) -> Fault:
    text, star, first = text.rpartition("*") if "*" in text else (text, "", "")
    word, *args = text.split(":", 2)
    key = f"/{first}" if "/" in first else ""
    limit = int(first) if star and not key else None
    if word == "fail" and limit is None:
        limit = int(args[1]) if len(args) > 1 else 1
    if word == "cancel-partial":
        word, args = "cancel_after", args or ["0.5"]
    return Fault(word, tuple(args), limit, key)


@dataclass(frozen=True)
class BatchFaults:
    """What one batch does wrong."""

    faults: tuple[Fault, ...] = ()

    def find(self, word: str) -> Fault | None:
        """The fault of that name, if it is asked for."""
        return next((fault for fault in self.faults if fault.word == word), None)

    def has(self, word: str, first_arg: str | None = None) -> bool:
        """Whether it is asked for (with that argument)."""
        return any(
            fault.word == word and (first_arg is None or fault.args[:1] == (first_arg,))
            for fault in self.faults
        )

    def validation_problem(self, batch: StoredBatch) -> Problem | None:
        """Why validation fails, if it is told to."""
        fault = self.find("fail")
        if fault is None:
            return None
        code = fault.args[0]
        if code == "file_access":
            message = f"Cannot find file {batch.input_file_id}, or organization org-local does not have access to it."
            return Problem(None, "invalid_request", message, "file_id")
        message = _VALIDATION_MESSAGES.get(code, f"Told to fail: {code}.").format(model="this model")
        param = "body.model" if code in ("mismatched_model", "model_not_found") else None
        return Problem(1 if param else None, code, message, param)

    def early_end(self, total: int) -> EarlyEnd | None:
        """Where a batch of `total` rows ends early, if it does."""
        for word, ending in _EARLY_ENDS:
            fault = self.find(word)
            if fault is not None:
                return EarlyEnd(math.floor(total * float(fault.args[0])), ending)
        return None

    def corrupt_answers(self, answers: list[Answer]) -> list[Answer]:
        """The answers, those of the selected rows replaced by wrong ones."""
        for fault in self.faults:
            if fault.word in CORRUPTIONS:
                corrupt = CORRUPTIONS[fault.word]
                selector = fault.args[1:] if fault.word == "row_error" else fault.args
                answers = [
                    corrupt(answer, fault.args) if is_selected(answer.custom_id, selector) else answer
                    for answer in answers
                ]
        return answers

    def corrupt_files(self, work_folder: Path) -> dict[ResultKind, Path] | None:
        """Damaged result files to publish instead of the result log's own; None when they are left as they are."""
        asked_for = {fault.word for fault in self.faults} & FILE_FAULTS
        return write_corrupt_files(work_folder, asked_for) if asked_for else None


NO_FAULTS: Final = BatchFaults()


class FaultRegistry:
    """Which batch has which faults, and how often each batch has been retrieved."""

    def __init__(self, store: Store, *, allowed: bool) -> None:
        self._store = store
        self._allowed = allowed
        self._known: dict[str, BatchFaults] = {}
        # Apart for open and ended batches: `null_output_id` counts from the end on, `status` from the beginning.
        self._retrieves: Counter[tuple[str, bool]] = Counter()

    def of(self, batch: StoredBatch) -> BatchFaults:
        """What this batch does wrong: nothing, unless faults are allowed."""
        metadata = batch.metadata or {}
        text = metadata.get(METADATA_KEY) if self._allowed else None
        if text is None:
            return NO_FAULTS
        if batch.id not in self._known:
            earlier = self._earlier_batches(batch.id, text)
            faults = (
                fault
                for fault in parse(text)
                if (fault.first is None or earlier < fault.first)
                and metadata.get("nightmail_key", "").endswith(fault.key)
            )
            self._known[batch.id] = BatchFaults(tuple(faults))
        return self._known[batch.id]

    def batch_json(self, batch: StoredBatch, *, is_retrieve: bool) -> dict[str, Any]:
        """The Batch object as this batch shows it; only a retrieve is counted for the faults that wear off."""
        fields = batch.as_json()
        faults = self.of(batch)
        if faults is NO_FAULTS:
            return fields
        ended = batch.status in ("completed", "expired", "cancelled")
        since_end = self._retrieves[batch.id, ended]
        self._retrieves[batch.id, ended] += is_retrieve
        before_this = self._retrieves[batch.id, False] + self._retrieves[batch.id, True] - is_retrieve
        if (fault := faults.find("status")) and before_this < _times(fault.args[1:]):
            fields["status"] = fault.args[0]
        if ended and (fault := faults.find("null_output_id")) and since_end < _times(fault.args):
            fields["output_file_id"] = None
        if ended and faults.has("error_id_empty_string") and fields["error_file_id"] is None:
            fields["error_file_id"] = ""
        _falsify_counts(fields, faults)
        return fields

    def _earlier_batches(self, batch_id: str, text: str) -> int:
        """How many batches with the same faults came before this one; the store knows it after a restart, too."""
        earlier = 0
        for batch in self._store.batches(after=None, limit=_ALL)[::-1]:
            if batch.id == batch_id:
                break
            earlier += (batch.metadata or {}).get(METADATA_KEY) == text
        return earlier


def _falsify_counts(fields: dict[str, Any], faults: BatchFaults) -> None:
    counts = fields["request_counts"]
    if faults.has("null_counts"):
        fields["request_counts"] = {"total": counts["total"], "completed": None, "failed": None}
    elif faults.has("zero_counts"):
        fields["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
    elif faults.has("failed_rows_in_output"):
        counts.update(completed=counts["completed"] + counts["failed"], failed=0)


def _times(args: tuple[str, ...]) -> int:
    return int(args[0]) if args else 2
