"""Thoughts that a model writes into its answer, in marks of its own: `<think>…</think>` and their like."""

from __future__ import annotations

import re
from typing import Final

INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060"
"""Characters that are no blanks and show nothing; a byte order mark is one."""
_BLANKS: Final = INVISIBLE + "".join(filter(str.isspace, map(chr, range(0x3001))))
_OPENING: Final = re.compile(r"<(think|thinking|thought|reasoning)>|\[(think)\]", re.IGNORECASE)
# Some services leave the opening mark out.
_CLOSING: Final = re.compile(r"</think>\s*$")
_CLOSING_LINE: Final = re.compile(r"^[ \t]*</think>[ \t]*$", re.MULTILINE)
STARTS_OF_NOTHING: Final = frozenset(f"<[{_BLANKS}")
ENDS_OF_NOTHING: Final = frozenset(f">{_BLANKS}")
"""What a text begins or ends with that may say nothing: most do not, and there are many of them."""


def without_thoughts(text: str) -> tuple[str, bool]:
    """(the text without blanks around it and the thoughts that it begins with, whether there were any).

    A thought that never ends leaves nothing.
    """
    thoughts, said = _parted(text)
    if not thoughts and _CLOSING.search(said) and "<think>" not in said:
        return "", True
    return said, bool(thoughts)


def may_say_nothing(text: str) -> bool:
    """Whether a text, which is not empty, is worth the search for thoughts: one that begins with no mark and no blank says
    something unless it ends with a closing mark."""
    if text[0] in STARTS_OF_NOTHING:
        return True
    return text[-1] in ENDS_OF_NOTHING and text.rstrip(_BLANKS)[-1] == ">"


def thoughts_of(text: str) -> str | None:
    """The thoughts that a text begins with, without their marks; None where there are none."""
    thoughts, said = _parted(text)
    closing = None if thoughts else _CLOSING_LINE.search(said) or _CLOSING.search(said)
    if closing and "<think>" not in said[: closing.start()]:
        thoughts = [_stripped(said[: closing.start()])]
    return "\n\n".join(filter(None, thoughts)) or None


def _parted(text: str) -> tuple[list[str], str]:
    """The thoughts that a text begins with in both of their marks, and what comes after them."""
    said = _stripped(text)
    thoughts = []
    while opening := _OPENING.match(said):
        end = f"</{opening[1]}>" if opening[1] else "[/think]"
        place = said.lower().find(end.lower(), opening.end())
        thoughts.append(_stripped(said[opening.end() : place if place >= 0 else len(said)]))
        said = _stripped(said[place + len(end) :]) if place >= 0 else ""
    return thoughts, said


def _stripped(text: str) -> str:
    return text.strip(_BLANKS)
