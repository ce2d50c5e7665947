"""A result line that is no JSON: whose row it is can often still be read, and that row is not bought again unasked."""

from __future__ import annotations

import re

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.outcome import UNPARSABLE, ErrorClass, Outcome

UNREADABLE_LINE = "unreadable_line"

# The id among the texts that a line begins with.
_ID = re.compile(rb'\s*\{\s*(?:"[^"\\]*"\s*:\s*"[^"\\]*"\s*,\s*)*"(?:custom_id|key)"\s*:\s*"([^"\\]+)"')


def unreadable(raw: bytes) -> Outcome:
    """The outcome of a line that is no JSON, wherever it is broken or cut: files that are not whole are fetched again
    before their lines are merged (`tasks.stages.merge.wholeness`)."""
    found = _ID.match(raw)
    if found is None:
        return UNPARSABLE
    try:
        custom_id = found[1].decode()
    except UnicodeDecodeError:
        return UNPARSABLE
    return Outcome(
        custom_id=custom_id,
        status=RowStatus.FAILED,
        error_code=UNREADABLE_LINE,
        error_message="the provider's result line for this row is not valid JSON; it was answered, and is not asked again",
        error_class=ErrorClass.REQUEST,
    )
