"""Misbehaviour on request, for tests: what batch services have been seen to do wrong, one batch at a time.

A batch asks for it in its metadata, under `nightmail_faults`: words separated by commas, or a JSON list of them.
A word may take arguments after colons, and `*N` at its end: only the first N batches with these very faults obey.

    expire_after:0.9         expires when that share of the rows is answered
    cancel_after:0.5         is cancelled (by someone else) at that share; `cancel-partial` is this at 0.5
    fail:CODE                fails validation: token_limit_exceeded, file_access, mismatched_model, any other code;
                             `fail:CODE:N` is `fail:CODE*N`, and N is 1 unless told
    stuck:STATUS             stays validating, in_progress or finalizing until it is cancelled
    status:WORD:N            shows an unknown status word, N times (default 2)
    null_output_id:N         completed, but output_file_id comes N retrieves later (default 2)
    empty_error_file         an error file of 0 bytes
    error_id_empty_string    error_file_id is "" when there is none
    null_counts, zero_counts request_counts are null, or 0, for ever
    failed_rows_in_output    failed rows are in the output file; request_counts.failed is 0
    duplicate_lines, missing_lines, unknown_ids, malformed_line, truncated_last_line      in the output file
    row_error:STATUS:WHICH   those rows fail with that HTTP status
    refusal:WHICH  length:WHICH  content_filter:WHICH  invalid_json:WHICH                 200, but no use
    raw_u2028:WHICH          answers with every awkward character, see AWKWARD
    body_as_string:WHICH     response.body is a string that holds the JSON

WHICH is a share of the rows such as 0.1 (by a hash of the custom_id), or custom_ids joined by `|`; all unless told.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from tasks.local_batch.faults.corrupt_answers import BENDS, chosen
from tasks.local_batch.protocol.batch_object import Batch
from tasks.local_batch.protocol.lines import Answer
from tasks.local_batch.state.store import Store
from tasks.stages.validate import Problem

METADATA_KEY: Final = "nightmail_faults"
_REFUSALS: Final = {
    "token_limit_exceeded": (
        "Enqueued token limit reached for {model} in organization org-local. Limit: 2,000,000 enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    ),
    "mismatched_model": "Each batch must contain requests for a single model.",
}


@dataclass(frozen=True)
class Fault:
    """`word:arg:arg*first`."""

    word: str
    args: tuple[str, ...] = ()
    first: int | None = None


@dataclass(frozen=True)
class Cut:
    """The batch ends once `rows` rows are answered."""

    rows: int
    ending: str


def parse(text: str) -> tuple[Fault, ...]:
    """The faults of a metadata value; a word nobody knows is simply never obeyed."""
    items = orjson.loads(text) if text.lstrip().startswith("[") else text.split(",")
    return tuple(_parse_one(str(item).strip()) for item in items if str(item).strip())


def _parse_one(text: str) -> Fault:
    text, star, first = text.rpartition("*") if "*" in text else (text, "", "")
    word, *args = text.split(":", 2)
    limit = int(first) if star else None
    if word == "fail" and limit is None:
        limit = int(args[1]) if len(args) > 1 else 1
    if word == "cancel-partial":
        word, args = "cancel_after", args or ["0.5"]
    return Fault(word, tuple(args), limit)


@dataclass(frozen=True)
class Misbehaviour:
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

    def problem(self, batch: Batch) -> Problem | None:
        """Why validation fails, if it is told to."""
        fault = self.find("fail")
        if fault is None:
            return None
        code = fault.args[0]
        if code == "file_access":
            text = f"Cannot find file {batch.input_file_id}, or organization org-local does not have access to it."
            return Problem(None, "invalid_request", text, "file_id")
        text = _REFUSALS.get(code, f"Told to fail: {code}.").format(model="this model")
        param = "body.model" if code in ("mismatched_model", "model_not_found") else None
        return Problem(1 if param else None, code, text, param)

    def cut(self, total: int) -> Cut | None:
        """Where the batch ends early, if it does."""
        for word, ending in (("expire_after", "expired"), ("cancel_after", "cancelled")):
            fault = self.find(word)
            if fault is not None:
                return Cut(math.floor(total * float(fault.args[0])), ending)
        return None

    def bend(self, answers: list[Answer]) -> list[Answer]:
        """The answers, with the wrong ones put in."""
        for fault in self.faults:
            if fault.word in BENDS:
                change = BENDS[fault.word]
                which = fault.args[1:] if fault.word == "row_error" else fault.args
                answers = [
                    change(answer, fault.args) if chosen(answer.custom_id, which) else answer
                    for answer in answers
                ]
        return answers

    def rewritten(self, work: Path) -> dict[str, Path] | None:
        """Result files other than the journal's own, written anew each time; None when they are not touched."""
        wanted = {fault.word for fault in self.faults} & _FILE_FAULTS
        if not wanted:
            return None
        output = (work / "output.jsonl").read_bytes().split(b"\n")[:-1]
        errors = (work / "errors.jsonl").read_bytes().split(b"\n")[:-1]
        if "failed_rows_in_output" in wanted:
            output, errors = _mixed(output, errors), []
        data = _damaged(output, wanted)
        paths = {"output": work / "output.final", "error": work / "errors.final"}
        _write(paths["output"], data)
        _write(paths["error"], b"".join(line + b"\n" for line in errors))
        return paths


_FILE_FAULTS: Final = frozenset(
    {
        "failed_rows_in_output",
        "duplicate_lines",
        "missing_lines",
        "unknown_ids",
        "malformed_line",
        "truncated_last_line",
    }
)
NONE: Final = Misbehaviour()


class Faults:
    """Hands out each batch's misbehaviour, and counts how often a batch was looked at."""

    def __init__(self, store: Store, *, allowed: bool) -> None:
        self._store = store
        self._allowed = allowed
        self._known: dict[str, Misbehaviour] = {}
        self._looks: Counter[tuple[str, bool]] = Counter()

    def of(self, batch: Batch) -> Misbehaviour:
        """What this batch does wrong: nothing, unless faults are allowed."""
        text = (batch.metadata or {}).get(METADATA_KEY) if self._allowed else None
        if text is None:
            return NONE
        if batch.id not in self._known:
            place = self._place(batch.id, text)
            faults = [fault for fault in parse(text) if fault.first is None or place < fault.first]
            self._known[batch.id] = Misbehaviour(tuple(faults))
        return self._known[batch.id]

    def shown(self, batch: Batch, *, look: bool) -> dict[str, Any]:
        """The wire object as this batch shows it; `look` counts as a retrieve."""
        wire = batch.wire()
        faults = self.of(batch)
        if faults is NONE:
            return wire
        ended = batch.status in ("completed", "expired", "cancelled")
        earlier = self._looks[batch.id, ended]
        self._looks[batch.id, ended] += look
        total = self._looks[batch.id, False] + self._looks[batch.id, True] - look
        if (fault := faults.find("status")) and total < _count(fault.args[1:]):
            wire["status"] = fault.args[0]
        if ended and (fault := faults.find("null_output_id")) and earlier < _count(fault.args):
            wire["output_file_id"] = None
        if ended and faults.has("error_id_empty_string") and wire["error_file_id"] is None:
            wire["error_file_id"] = ""
        _change_counts(wire, faults)
        return wire

    def _place(self, batch_id: str, text: str) -> int:
        """How many batches with the same faults came before this one."""
        earlier = 0
        for batch in self._store.batches(after=None, limit=1 << 31)[::-1]:
            if batch.id == batch_id:
                break
            earlier += (batch.metadata or {}).get(METADATA_KEY) == text
        return earlier


def _change_counts(wire: dict[str, Any], faults: Misbehaviour) -> None:
    counts = wire["request_counts"]
    if faults.has("null_counts"):
        wire["request_counts"] = {"total": counts["total"], "completed": None, "failed": None}
    elif faults.has("zero_counts"):
        wire["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
    elif faults.has("failed_rows_in_output"):
        counts.update(completed=counts["completed"] + counts["failed"], failed=0)


def _count(args: tuple[str, ...]) -> int:
    return int(args[0]) if args else 2


def _mixed(output: list[bytes], errors: list[bytes]) -> list[bytes]:
    """Error lines among the good ones, not behind them."""
    return [line for pair in zip(output, errors, strict=False) for line in pair] + (
        output[len(errors) :] or errors[len(output) :]
    )


def _damaged(lines: list[bytes], wanted: set[str]) -> bytes:
    """Every tenth line (the first one always) is missing, doubled or damaged."""
    if "missing_lines" in wanted:
        lines = [line for index, line in enumerate(lines) if index % 10]
    if "duplicate_lines" in wanted:
        lines = lines + lines[::10]
    if "malformed_line" in wanted and lines:
        lines = [lines[0][: len(lines[0]) // 2] + b"<html>", *lines[1:]]
    if "unknown_ids" in wanted and lines:
        stranger = orjson.loads(lines[-1])
        stranger["custom_id"] = "nobody-asked-for-this"
        lines = [orjson.dumps(stranger), *lines]
    data = b"".join(line + b"\n" for line in lines)
    return data[: -max(2, len(lines[-1]) // 2)] if "truncated_last_line" in wanted and lines else data


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(path)
