"""What is said of a row that cannot be rendered."""

from __future__ import annotations

from typing import Literal

from tasks.stages.prompt.values import NotSendable
from tasks.storage.file_roots import FileCode

SkipCode = Literal["template_error", "invalid_messages", "row_too_large"] | FileCode


class RowError(Exception):
    """A row could not be rendered; the message is one line that names the template, its line and the reason. `code` is the
    row's error code."""

    code: SkipCode = "template_error"


def reason(error: Exception) -> str:
    """The exception as part of a one-line message."""
    kind = "" if isinstance(error, NotSendable) else f"{type(error).__name__}: "
    return f"{kind}{' '.join(str(error).split())}"[:500]
