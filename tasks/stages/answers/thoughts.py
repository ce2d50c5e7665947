"""Thoughts that a model writes into its answer, in marks of its own: `<think>…</think>` and their like."""

from __future__ import annotations

import re
from typing import Final

INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060"
"""Characters that are no blanks and show nothing; a byte order mark is one."""
_BLANKS: Final = INVISIBLE + "".join(filter(str.isspace, map(chr, range(0x3001))))
_OPENING: Final = re.compile(r"<(think|thinking|thought|reasoning)>|\[(think)\]", re.IGNORECASE)
_CLOSING: Final = re.compile(r"</think>\s*$")  # some services leave the opening mark out
STARTS_OF_NOTHING: Final = frozenset(f"<[{_BLANKS}")
ENDS_OF_NOTHING: Final = frozenset(f">]{_BLANKS}")
"""What a text begins or ends with that may say nothing: most do not, and there are many of them."""


def without_thoughts(text: str) -> tuple[str, bool]:
    """(the text without blanks around it and the thoughts that it begins with, whether there were any).

    A thought that never ends leaves nothing.
    """
    said = _stripped(text)
    found = False
    while opening := _OPENING.match(said):
        found = True
        end = f"</{opening[1]}>" if opening[1] else "[/think]"
        place = said.lower().find(end.lower(), opening.end())
        said = _stripped(said[place + len(end) :]) if place >= 0 else ""
    if not found and _CLOSING.search(said) and "<think>" not in said:
        return "", True
    return said, found


def _stripped(text: str) -> str:
    return text.strip(_BLANKS)
