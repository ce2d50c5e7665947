"""The columns by choice (`output.include`): read from the bodies of result lines, beside what a parser reads of those.

A job that chooses none is parsed as if there were none: its lines are read once, in the fast ways
(`IncludingParser` in `tasks.stages.wire.dialect`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import msgspec

from tasks.stages.wire.json_values import integer, string, text_of

RAW: Final = "raw"
Reader = Callable[[Mapping[str, Any]], Any]
"""What a column holds of a body: None where that has nothing of it. Never raises, whatever the body is."""


@dataclass(frozen=True)
class BodyReaders:
    """How one endpoint of a line format has the columns: `raw` finds the body's bytes in those of a line, `body` the
    answer's body in its JSON, and `readers` are the other columns by name."""

    raw: Callable[[bytes], bytes | None]
    body: Callable[[Mapping[str, Any]], Any]
    readers: Mapping[str, Reader]


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


_MARK: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}:,]', re.DOTALL)


def members(raw: bytes) -> dict[str, bytes]:
    """The fields of an object as JSON text, each as its bytes; none where it is no object."""
    try:
        return {name: bytes(value) for name, value in _MEMBERS.decode(raw).items()}
    except (msgspec.MsgspecError, RecursionError):
        return dict(_marked_members(raw))


def _marked_members(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The same of what no strict reader takes: NaN, half a surrogate pair, a byte order mark, brackets a thousand deep."""
    depth = begin = 0
    name: bytes | None = None  # of the field whose value begins at `begin`
    for found in _MARK.finditer(raw):
        mark, piece = found[0], raw[begin : found.start()].strip()
        depth -= mark in (b"]", b"}")
        if name is None and depth == 1 and mark == b":":
            name, begin = piece, found.end()
        elif name is not None and (depth == 0 or (depth == 1 and mark == b",")):
            yield name.strip(b'"').decode("utf-8", "replace"), piece
            name, begin = None, found.end()
        if mark in (b"[", b"{"):
            depth += 1
            begin = found.end() if depth == 1 else begin


def raw_member(raw: bytes, *path: str) -> bytes | None:
    """The bytes of what lies at `path` in JSON text, as they are; None where there is nothing, or null."""
    for name in path:
        raw = members(raw).get(name, b"null")
    return None if raw == b"null" else raw


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def tool_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """An entry of `tool_calls`; arguments that are text stay as they came."""
    text = None if arguments is None else text_of(arguments)
    return {"id": string(call_id), "name": string(name), "arguments": text}


def token(text: Any, logprob: Any) -> dict[str, Any]:
    """What an entry of `logprobs` says of one token."""
    is_number = isinstance(logprob, int | float) and not isinstance(logprob, bool)
    known = float(logprob) if is_number and not isnan(logprob) else None
    return {"token": string(text), "logprob": known}


def citation(
    source: Mapping[str, Any], *, text: Any = None, start: int | None = None, end: int | None = None
) -> dict[str, Any] | None:
    """An entry of `citations`; None where it does not say what is cited."""
    url = next((string(source[key]) for key in ("url", "uri", "source") if string(source.get(key))), None)
    titles = (source.get(key) for key in ("title", "document_title", "filename"))
    title = next((each for each in titles if isinstance(each, str) and each), None)
    quoted = string(text)
    if url is None and title is None and quoted is None:
        return None
    return {"url": url, "title": title, "text": quoted, "start": integer(start), "end": integer(end)}


def some(entries: Sequence[Any]) -> list[Any] | None:
    """The entries that there are; None where there is none."""
    return [each for each in entries if each is not None] or None


def joined(texts: Sequence[Any], between: str = "") -> str | None:
    """The texts among the values as one; None where they say nothing."""
    return between.join(text for text in texts if isinstance(text, str) and text) or None
