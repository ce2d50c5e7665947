"""The columns by choice in responses of generateContent: https://ai.google.dev/api/generate-content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.stages.wire.gemini.results import either, parts_of
from tasks.stages.wire.included import (
    BodyReaders,
    citation,
    joined,
    mapping,
    objects,
    raw_member,
    some,
    token,
    tool_call,
)
from tasks.stages.wire.json_values import integer, json_text, string

_Body = Mapping[str, Any]


def included(endpoint: str) -> BodyReaders:  # noqa: ARG001 - one shape for all
    """What there is in a response, whatever the job calls its endpoint."""
    return _RESPONSE


def _raw(line: bytes) -> bytes | None:
    return raw_member(line, "response") or raw_member(line, "error")


def _candidate(body: _Body) -> _Body:
    candidates = objects(body.get("candidates"))
    return candidates[0] if candidates else {}


def _parts(body: _Body) -> list[dict[str, Any]]:
    return parts_of(_candidate(body).get("content"))


def _calls(body: _Body) -> Any:
    calls = [mapping(either(part, "functionCall", "function_call")) for part in _parts(body)]
    return some([_call(call) for call in calls if call])


def _call(call: _Body) -> Any:
    return tool_call(call.get("id"), call.get("name"), json_text(call.get("args") or {}))


def _reasoning(body: _Body) -> Any:
    return joined([part.get("text") for part in _parts(body) if part.get("thought")])


def _logprobs(body: _Body) -> Any:
    result = mapping(either(_candidate(body), "logprobsResult", "logprobs_result"))
    others = objects(either(result, "topCandidates", "top_candidates"))
    entries = []
    for place, chosen in enumerate(objects(either(result, "chosenCandidates", "chosen_candidates"))):
        top = objects(others[place].get("candidates")) if place < len(others) else []
        entries.append({**_token(chosen), "top": [_token(each) for each in top]})
    return some(entries)


def _token(node: _Body) -> dict[str, Any]:
    return token(node.get("token"), either(node, "logProbability", "log_probability"))


def _citations(body: _Body) -> Any:
    """What the answer is grounded in, each source once for each passage, and what it recites."""
    candidate = _candidate(body)
    texts = _answer_texts(_parts(body))
    metadata = mapping(either(candidate, "groundingMetadata", "grounding_metadata"))
    chunks = objects(either(metadata, "groundingChunks", "grounding_chunks"))
    supports = objects(either(metadata, "groundingSupports", "grounding_supports"))
    grounded = [
        _source(chunks[at], **_place(mapping(support.get("segment")), texts))
        for support in supports
        for at in _indices(support)
        if at < len(chunks)
    ]
    recited = mapping(either(candidate, "citationMetadata", "citation_metadata"))
    sources = objects(either(recited, "citationSources", "citation_sources"))
    return some(
        [
            *(grounded or map(_source, chunks)),
            *(citation(source, **_place(source, texts)) for source in sources),
        ]
    )


def _indices(support: _Body) -> list[int]:
    found = either(support, "groundingChunkIndices", "grounding_chunk_indices")
    return [at for at in map(integer, found) if at is not None] if isinstance(found, list) else []


def _source(chunk: _Body, **place: int) -> Any:
    retrieved = mapping(either(chunk, "retrievedContext", "retrieved_context"))
    source = mapping(chunk.get("web")) or retrieved or mapping(chunk.get("maps"))
    return citation(source, text=retrieved.get("text"), **place)


def _answer_texts(parts: list[dict[str, Any]]) -> dict[int, tuple[int, str]]:
    """Of the texts that are the answer, by number of the part: where it begins in the answer, and itself. None where calls are."""
    if any(either(part, "functionCall", "function_call") for part in parts):
        return {}
    texts: dict[int, tuple[int, str]] = {}
    begin = 0
    for number, text in _last_run(parts):
        texts[number] = begin, text
        begin += len(text)
    return texts


def _last_run(parts: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """The last texts without another part between them, thoughts left out."""
    answer = [(number, part) for number, part in enumerate(parts) if not part.get("thought")]
    run: list[tuple[int, str]] = []
    ended = False
    for number, part in answer:
        text = string(part.get("text"))
        if text is None:
            ended = True
            continue
        run = [(number, text)] if ended else [*run, (number, text)]
        ended = False
    return iter(run)


def _place(segment: _Body, texts: Mapping[int, tuple[int, str]]) -> dict[str, int]:
    """Where a segment is in the answer, in characters; Google counts bytes of a part."""
    number = integer(either(segment, "partIndex", "part_index"))
    end = integer(either(segment, "endIndex", "end_index"))
    found = texts.get(min(texts, default=0) if number is None else number)
    if found is None or end is None:
        return {}
    begin, text = found
    start = integer(either(segment, "startIndex", "start_index")) or 0
    return {"start": begin + _characters(text, start), "end": begin + _characters(text, end)}


def _characters(text: str, size: int) -> int:
    return len(text.encode()[:size].decode("utf-8", "ignore"))


_RESPONSE = BodyReaders(
    _raw,
    lambda line: line.get("response"),
    {"tool_calls": _calls, "reasoning": _reasoning, "logprobs": _logprobs, "citations": _citations},
)
