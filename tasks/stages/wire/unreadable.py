"""A result line that is no JSON: whose row it is can often still be read, and that row is not bought again unasked."""

from __future__ import annotations

import re

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.outcome import UNPARSABLE, ErrorClass, Outcome

# The id among the texts that a line begins with.
_ID = re.compile(rb'\s*\{\s*(?:"[^"\\]*"\s*:\s*"[^"\\]*"\s*,\s*)*"(?:custom_id|key)"\s*:\s*"([^"\\]+)"')


def unreadable(raw: bytes) -> Outcome:
    """The outcome of a line that is no JSON. One that is cut short is nobody's: what was lost may come when it is fetched
    again."""
    found = _ID.match(raw) if raw.rstrip().endswith(b"}") else None
    if found is None:
        return UNPARSABLE
    try:
        custom_id = found[1].decode()
    except UnicodeDecodeError:
        return UNPARSABLE
    return Outcome(
        custom_id=custom_id,
        status=RowStatus.FAILED,
        error_code="unreadable_line",
        error_message="the provider's result line for this row is not valid JSON; it was answered, and is not asked again",
        error_class=ErrorClass.REQUEST,
    )
