"""Result lines that are no JSON, and several objects on one line.

Whose row a broken line is can often still be read, and that row is not bought again unasked.
"""

from __future__ import annotations

import json
import re
from typing import Final

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.outcome import UNPARSABLE, ErrorClass, Outcome

UNREADABLE_LINE: Final = "unreadable_line"

_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_MEMBER: Final = _STRING + rb"\s*:\s*(?:" + _STRING + rb"|[\w.+-]++)\s*+"
_ID_MEMBER: Final = rb'"(?:custom_id|key)"\s*:\s*(' + _STRING + rb")"
# The id among the members that a line begins with, or among those that it ends with: the answer is between them.
_FIRST: Final = re.compile(rb"\s*\{\s*(?:" + _MEMBER + rb",\s*)*" + _ID_MEMBER)
_LAST: Final = re.compile(rb",\s*" + _ID_MEMBER + rb"\s*(?:,\s*" + _MEMBER + rb")*\}\s*\Z")
_LONGEST_END: Final = 2_000
# In a text a quotation mark is escaped: these bytes are the end of one object and the beginning of another.
_GLUE: Final = re.compile(rb'\}(?=[ \t]*\{\s*"(?:id|custom_id|key)"\s*:)')


def unreadable(raw: bytes) -> Outcome:
    """The outcome of a line that is no JSON, wherever it is broken or cut: files that are not whole are fetched again
    before their lines are merged (`tasks.stages.merge.wholeness`)."""
    found = _FIRST.match(raw) or _LAST.search(raw, max(0, len(raw) - _LONGEST_END))
    try:
        custom_id = json.loads(found[1]) if found else ""
    except ValueError:
        custom_id = ""
    if not custom_id:
        return UNPARSABLE
    return Outcome(
        custom_id=custom_id,
        status=RowStatus.FAILED,
        error_code=UNREADABLE_LINE,
        error_message="the provider's result line for this row is not valid JSON; it was answered, and is not asked again",
        error_class=ErrorClass.REQUEST,
    )


def ends_within_lines(block: bytes) -> list[int]:
    """Where an object ends and another one begins on the same line."""
    return [found.end() for found in _GLUE.finditer(block)]


def one_a_line(block: bytes) -> bytes:
    """The block with each object on a line of its own."""
    ends = ends_within_lines(block)
    pieces = [block[start:end] for start, end in zip([0, *ends], [*ends, len(block)], strict=True)]
    return b"\n".join(pieces) if ends else block
