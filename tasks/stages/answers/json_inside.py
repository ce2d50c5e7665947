"""Find the JSON in an answer that has more in it: a byte order mark, a thought before it, a fence or other text around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from tasks.stages.answers.thoughts import INVISIBLE, without_thoughts

_FENCE: Final = re.compile(r"^[ \t]*(```|~~~)[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
_MARK: Final = "\ufeff"
# What is no beginning of JSON is text: {x}, [see below].
_BEGINNING: Final = re.compile(r'\{\s*["}]|\[\s*["{\[\]\d-]')
_DECODER: Final = json.JSONDecoder()
_decode: Final = msgspec.json.Decoder().decode  # making a decoder for each text takes a third as long again


class NotJSON(ValueError):
    """The text holds no JSON, or not only one; the message is the reason on one line."""


def json_inside(text: str) -> tuple[Any, str | None]:
    """(value, what stood around its JSON; None where the text is nothing else). NotJSON when there is none, or more."""
    try:
        return _decode(text), None  # orjson makes floats of integers beyond 64 bits
    except (ValueError, RecursionError) as error:
        reason = _one_line(error)
    said, around = _without_prelude(text)
    if not said:
        raise NotJSON("not JSON: the answer is " + ("only a thought" if "a thought" in around else "empty"))
    found, place = _only_json(said)
    try:
        value = _decode(said if found is None else found)
    except (ValueError, RecursionError) as error:
        shown = reason if found is None and not around else _one_line(error)
        raise NotJSON(f"not JSON: {shown}; the answer begins {' '.join(said.split())[:40]!r}") from None
    return value, " and ".join([*around, *([place] if place else [])]) or "blanks"


def _only_json(said: str) -> tuple[str | None, str | None]:
    """(the one JSON in a text, what it stood in); None where there is none but perhaps the whole text."""
    fenced = [block for match in _FENCE.finditer(said) if _is_json(block := match[2].strip())]
    if len(fenced) > 1:
        raise NotJSON(f"not JSON: the answer holds {len(fenced)} fenced blocks of it, and one was due")
    if fenced:
        return fenced[0], "a fence"
    values = list(islice(_values(said), 2))
    if len(values) > 1:
        raise NotJSON("not JSON: the answer holds several pieces of it, and one was due")
    if not values or values[0] == said:
        return None, None
    return values[0], "a fence" if "```" in said else "other text"


def _values(said: str) -> Iterator[str]:
    """Every JSON object and array that is in no other one. Ends at one that is broken: what is inside of it is no answer."""
    at = 0
    while begin := _BEGINNING.search(said, at):
        try:
            _, at = _DECODER.raw_decode(said, begin.start())
        except (ValueError, RecursionError):
            yield said[begin.start() :]
            return
        yield said[begin.start() : at]


def _is_json(text: str) -> bool:
    try:
        _decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _without_prelude(text: str) -> tuple[str, list[str]]:
    """What a text says after a mark and thoughts, and which of them there were."""
    around = ["a byte order mark"] if text.strip().startswith(_MARK) else []
    said, thought = without_thoughts(text)
    if not thought and not said.startswith(("{", "[", "`")):
        # Some services leave the opening mark out.
        before, mark, after = said.rpartition("</think>")
        thought = bool(mark) and "```" not in before
        said = after.strip().strip(INVISIBLE) if thought else said
    return said, [*around, *(["a thought"] if thought else [])]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
