"""Find the JSON in an answer that wraps it: a byte order mark, a thought before it, one fence around it."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

_FENCE: Final = re.compile(r"^[ \t]*(```|~~~)[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_MARK: Final = "\ufeff"


class NotJSON(ValueError):
    """The text holds no JSON, or not only one; the message is the reason on one line."""


def json_inside(text: str) -> tuple[Any, str | None]:
    """(value, what stood around its JSON; None where the text is nothing else). NotJSON when there is none, or more."""
    try:
        return msgspec.json.decode(text), None  # orjson makes floats of integers beyond 64 bits
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
    said, around = _without_prelude(text)
    if not said:
        raise NotJSON("not JSON: the answer is " + ("only a thought" if "a thought" in around else "empty"))
    fenced = [match[2] for match in _FENCE.finditer(said)]
    if len(fenced) > 1:
        raise NotJSON(f"not JSON: the answer holds {len(fenced)} fenced blocks, and one was due")
    candidate = fenced[0] if fenced else said
    try:
        value = msgspec.json.decode(candidate.strip())
    except (ValueError, RecursionError) as error:
        shown = " ".join(str(error).split()) if fenced or around else reason
        raise NotJSON(f"not JSON: {shown}; the answer begins {' '.join(said.split())[:40]!r}") from None
    return value, " and ".join([*around, *(["a fence"] if fenced else [])]) or "blanks"


def _without_prelude(text: str) -> tuple[str, list[str]]:
    """What a text says after a mark and a thought, and which of them there were."""
    said = text.strip()
    around = ["a byte order mark"] if said.startswith(_MARK) else []
    said = said.lstrip(_MARK).strip()
    before, mark, after = said.rpartition("</think>")
    if mark and "```" not in before:  # some services leave the opening mark out
        around.append("a thought")
        said = after.strip().lstrip(_MARK)
    return said, around
