"""What batch services accept in one file."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Anthropic's rule, the narrowest that is published (OpenAI publishes none):
# https://platform.claude.com/docs/en/build-with-claude/batch-processing
PORTABLE_ID = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
"""custom_ids that every service takes."""


@dataclass(frozen=True)
class ServiceLimits:
    """What a service accepts. Sizes in bytes of UTF-8, final newline counted.

    `enforced_bytes`: what it really refuses, where that is known to be more than the documented `max_bytes`.
    `uniform`: fields of the body that have one value in a file, beside the model.
    `all_or_nothing`: a batch that expires has no results, not even of the rows that were done.
    """

    max_requests: int
    max_bytes: int
    max_line_bytes: int | None = None
    custom_id: re.Pattern[str] = PORTABLE_ID
    enforced_bytes: int | None = None
    uniform: tuple[str, ...] = ()
    all_or_nothing: bool = False
