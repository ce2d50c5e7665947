"""The final result line of each request: as the provider wrote it, in an output file or an error file as for one batch.

A request may have lines in several attempts, and several in one. The rows of a chunk are merged by then: the line is given back
that the merge has chosen. One that no file holds is written in the provider's form, into the error file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from configs.providers.base import Dialect
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.dialect import Parser
from tasks.stages.wire.outcome import Outcome
from tasks.stages.wire.unreadable import one_a_line

FileKind = Literal["output", "error"]
_ID: Final = re.compile(rb'"(custom_id|key)"(\s*:\s*)"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class AnsweredRow:
    """What a merged row says of its request: its id in the file and at the provider, and where its status comes from."""

    given_id: str
    posted_id: str
    status: RowStatus
    batch_id: str | None
    error_code: str | None = None
    error_message: str | None = None

    @property
    def kind(self) -> FileKind:
        """The file that its line goes to."""
        return "output" if self.status.has_answer else "error"


def chosen_lines(
    block: bytes, batch_id: str | None, parser: Parser, waiting: dict[str, AnsweredRow]
) -> Iterator[tuple[FileKind, bytes]]:
    """The lines of a block of that batch's results that the merge has chosen; their rows are taken out of `waiting`."""
    for raw in one_a_line(block).split(b"\n"):
        if not raw.strip():
            continue
        outcome = parser.parse_line(raw)
        row = waiting.get(outcome.custom_id or "")
        if row is not None and row.batch_id == batch_id and _is_chosen(outcome, row):
            del waiting[row.posted_id]
            yield row.kind, _with_given_id(raw, row) + b"\n"


def _is_chosen(outcome: Outcome, row: AnsweredRow) -> bool:
    """An answer that the checks of the merge did not accept has another status in its line."""
    return outcome.status == row.status or (row.status is RowStatus.INVALID and outcome.has_answer)


def _with_given_id(raw: bytes, row: AnsweredRow) -> bytes:
    """The line with the id of the file, where the provider does not take that."""
    if row.given_id == row.posted_id:
        return raw

    def given(found: re.Match[bytes]) -> bytes:
        if found[3].decode(errors="replace") != row.posted_id:
            return found[0]
        return b'"%b"%b%b' % (found[1], found[2], orjson.dumps(row.given_id))

    return _ID.sub(given, raw)


def line_of_none(row: AnsweredRow, form: Dialect) -> bytes:
    """An error line for a request that is in no file of the provider."""
    code = row.error_code or str(row.status)
    message = row.error_message or f"the provider has no result for this request ({row.status})"
    error = {"code": code, "message": message}
    by_form: Mapping[Dialect, dict[str, Any]] = {
        "openai": {"id": None, "custom_id": row.given_id, "response": None, "error": error},
        "anthropic": {
            "custom_id": row.given_id,
            "result": {
                "type": "errored",
                "error": {"type": "error", "error": {"type": code, "message": message}},
            },
        },
        "gemini": {"key": row.given_id, "error": {"status": code, "message": message}},
    }
    return orjson.dumps(by_form[form]) + b"\n"
