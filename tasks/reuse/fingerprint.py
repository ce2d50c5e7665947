"""The fingerprint of a request: equal ones ask the same of the same, whatever row, run or template they come from."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import numpy as np
import orjson

from configs.job import Job
from tasks.stages.prompt.recall import FINGERPRINT_BYTES, Numbers
from tasks.stages.prompt.render import one_line
from tasks.stages.prompt.shard import Lines

_ANSWER_FORMAT: Final = 1
"""One more whenever the output's columns hold something else for the same result line."""

_NOT_THE_QUESTION: Final = frozenset(
    {
        *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("service_tier", "store", "user"),
    }
)
"""Fields of a request's body that change no answer: who asks, at what pace, and what is kept of it."""

_MARKED_BODY: Final = "params"  # of Anthropic's lines; no other vendor's requests are marked for a cache

_NOTHING: Final = bytes(FINGERPRINT_BYTES)


class Fingerprints:
    """Makes the fingerprints of one job's request lines. `blank_line` is one of them without a row's texts."""

    def __init__(self, job: Job, blank_line: bytes) -> None:
        self._salt = _salt(job)
        self._id_at = blank_line.index(b'":"') + len(b'":"')  # the id is the first field of a line
        content = orjson.loads(blank_line)
        self._question: Callable[[bytes], bytes] = _without_fields if _stripped(content) != content else bytes

    def of(self, lines: Lines) -> Numbers:
        """A row of two 64-bit halves for each line; zeros where there is no request."""
        made = [self._of_line(line) if isinstance(line, bytes) else _NOTHING for line in lines]
        return np.frombuffer(b"".join(made), np.uint64).reshape(-1, 2)

    def _of_line(self, line: bytes) -> bytes:
        line = self._question(line)
        after_id = line.index(b'"', self._id_at)
        return sha256(self._salt + line[after_id:]).digest()[:FINGERPRINT_BYTES]


def _salt(job: Job) -> bytes:
    """Whatever decides an answer and does not stand in every request line: who answers above all."""
    provider = job.provider
    parts = [
        _ANSWER_FORMAT,
        provider.dialect,
        provider.name,
        getattr(provider, "address", provider.answered_by),  # no account: two keys are answered alike
        getattr(provider, "api_version", None),
        job.prompt.endpoint,
        job.prompt.model,
        job.prompt.answer_schema,
    ]
    return sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).digest()


def ask_the_same(one: bytes, other: bytes) -> bool:
    """Whether two lines of one row differ in nothing that may change the answer; no, where that cannot be told."""
    try:
        return _stripped(orjson.loads(one)) == _stripped(orjson.loads(other))
    except orjson.JSONDecodeError:  # half of a surrogate pair, in an answer that a follow-up quotes
        return False


def _without_fields(line: bytes) -> bytes:
    return one_line(orjson.dumps(_stripped(orjson.loads(line)))) + b"\n"


def _stripped(request: dict[str, Any]) -> dict[str, Any]:
    """The request without what changes no answer. Its body is the one field that is an object, in every line format."""
    made = {
        name: _without_cache_marks({k: v for k, v in part.items() if k not in _NOT_THE_QUESTION})
        if isinstance(part, dict)
        else part
        for name, part in request.items()
    }
    return {**made, _MARKED_BODY: _unlisted(made[_MARKED_BODY])} if _MARKED_BODY in made else made


def _unlisted(body: dict[str, Any]) -> dict[str, Any]:
    """The body with a text for each list of that text alone. Only a list can be marked, so a mark makes one of a text."""
    made = {**body, "messages": [_with_text(message, "content") for message in body["messages"]]}
    return _with_text(made, "system")


def _with_text(holder: dict[str, Any], name: str) -> dict[str, Any]:
    match holder.get(name):
        case [{"type": "text", "text": str(text), **others}] if not others:
            return {**holder, name: text}
    return holder


def _without_cache_marks(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_cache_marks(v) for k, v in node.items() if not _is_cache_mark(k, v)}
    return [_without_cache_marks(item) for item in node] if isinstance(node, list) else node


def _is_cache_mark(name: str, value: Any) -> bool:
    # By its value too: a schema may have a property of that name.
    return name == "cache_control" and isinstance(value, dict) and value.get("type") == "ephemeral"
