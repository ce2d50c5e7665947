"""Result lines of the OpenAI dialect into outcomes: blocks of bytes in, one outcome per non-blank line out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Literal, cast

import msgspec

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.empty_answer import any_says_nothing, says_nothing
from tasks.stages.wire.json_values import MOST
from tasks.stages.wire.openai.lenient import read_line
from tasks.stages.wire.openai.other_bodies import decode_vector
from tasks.stages.wire.openai.text_bodies import CALLS
from tasks.stages.wire.outcome import OUTCOME_FIELDS, Outcome, as_columns
from tasks.stages.wire.unreadable import one_a_line


class ResultParser:
    """Reads the result lines of one endpoint, output and error file alike.

    With `several`, answers are lists of the texts of all choices.
    A line is judged by its content, never by the file it came from. Ordinary answers take a typed decode of
    the whole block; every other line is read once more by itself, forgivingly.
    """

    def __init__(self, endpoint: str, *, several: bool = False) -> None:
        self.endpoint = endpoint
        self._several = several
        dialect = None if several else _DIALECTS.get(endpoint)
        self._ordinary = dialect[1] if dialect else None
        self._decoder = msgspec.json.Decoder(dialect[0]) if dialect else None

    def parse(self, block: bytes) -> list[Outcome]:
        """Outcomes of `block`, complete lines cut at b"\\n", in order. Never raises on content."""
        return self._outcomes(block, self._decoded(block))

    def columns(self, block: bytes) -> dict[str, Sequence[Any]]:
        """The same outcomes field by field: keys are the fields of Outcome, values of equal length."""
        lines = self._decoded(block)
        columns = chat_columns(lines) if lines and self.endpoint == _CHAT else None
        if columns is not None:
            return columns
        return as_columns(self._outcomes(block, lines))

    def parse_line(self, raw: bytes) -> Outcome:
        """The outcome of one non-blank line."""
        lines = self._decoded(raw)
        if lines is not None and len(lines) == 1 and self._ordinary is not None:
            return self._ordinary(lines[0]) or self._forgiving(raw)
        return self._forgiving(raw)

    def _forgiving(self, raw: bytes) -> Outcome:
        return read_line(raw, self.endpoint, several=self._several)

    def _decoded(self, block: bytes) -> list[Any] | None:
        """One object after another, or None when a line is not of the usual type."""
        if self._decoder is None:
            return None
        try:
            return self._decoder.decode_lines(block)
        except (ValueError, RecursionError):
            return None

    def _outcomes(self, block: bytes, lines: list[Any] | None) -> list[Outcome]:
        outcomes = list(map(self._ordinary, lines)) if lines is not None and self._ordinary else None
        if outcomes is not None and all(outcomes):
            return cast("list[Outcome]", outcomes)
        raw_lines = [raw for raw in one_a_line(block).split(b"\n") if raw.strip()]
        if outcomes is None or len(outcomes) != len(raw_lines):
            return [self.parse_line(raw) for raw in raw_lines]
        return [outcome or self._forgiving(raw) for outcome, raw in zip(outcomes, raw_lines, strict=True)]


class _Struct(msgspec.Struct, gc=False):
    """Every field optional, unknown ones skipped."""


_Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST)] | None


class _InDetails(_Struct):
    cached_tokens: _Tokens = None


class _OutDetails(_Struct):
    reasoning_tokens: _Tokens = None


class _ChatUsage(_Struct):
    prompt_tokens: _Tokens = None
    completion_tokens: _Tokens = None
    prompt_tokens_details: _InDetails | None = None
    completion_tokens_details: _OutDetails | None = None


class _ResponsesUsage(_Struct):
    input_tokens: _Tokens = None
    output_tokens: _Tokens = None
    input_tokens_details: _InDetails | None = None
    output_tokens_details: _OutDetails | None = None


_None = Annotated[list[Any], msgspec.Meta(max_length=0)] | None


class _Message(_Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: _None = None  # as with `_Reason`: a message that calls tools goes the forgiving way


# decoded without making a string per row; another reason sends its line the forgiving way
_Reason = Literal["stop", "length", "content_filter", "tool_calls", "function_call"] | None


class _Choice(_Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: _Reason = None


class _ChatBody(_Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _ChatUsage | None = None


class _Part(_Struct):
    type: str | None = None
    text: str | None = None


class _Item(_Struct):
    type: str | None = None
    content: list[_Part] | None = None


class _ResponsesBody(_Struct):
    status: str | None = None
    model: str | None = None
    output: list[_Item] | None = None
    usage: _ResponsesUsage | None = None


class _Vector(_Struct):
    embedding: list[float] | str | None = None


class _EmbeddingsBody(_Struct):
    model: str | None = None
    data: list[_Vector] | None = None
    usage: _ChatUsage | None = None


class _ChatResponse(_Struct):
    status_code: int = 0
    body: _ChatBody | None = None


class _ChatLine(_Struct):
    custom_id: str
    response: _ChatResponse | None = None
    error: Any = None


class _ResponsesResponse(_Struct):
    status_code: int = 0
    body: _ResponsesBody | None = None


class _ResponsesLine(_Struct):
    custom_id: str
    response: _ResponsesResponse | None = None
    error: Any = None


class _EmbeddingsResponse(_Struct):
    status_code: int = 0
    body: _EmbeddingsBody | None = None


class _EmbeddingsLine(_Struct):
    custom_id: str
    response: _EmbeddingsResponse | None = None
    error: Any = None


_BY_REASON: dict[str | None, RowStatus] = {"stop": RowStatus.SUCCEEDED, "length": RowStatus.TRUNCATED}
_SUCCEEDED = RowStatus.SUCCEEDED
_FIRST = itemgetter(0)
_CHAT = "/v1/chat/completions"


def _good_body(line: Any) -> Any:
    response = line.response
    if response is None or line.error is not None or not 200 <= response.status_code < 300:
        return None
    return response.body


def _ordinary_chat(line: _ChatLine) -> Outcome | None:
    body = _good_body(line)
    if body is None or not body.choices:
        return None
    choice = body.choices[0]
    message = choice.message
    status = _BY_REASON.get(choice.finish_reason)
    if status is None or message is None or says_nothing(message.content) or message.refusal:
        return None
    read, written, cached, reasoning = _chat_tokens(body.usage)
    return Outcome(
        custom_id=line.custom_id,
        status=status,
        finish_reason=choice.finish_reason,
        model=body.model,
        answer=message.content,
        input_tokens=read,
        output_tokens=written,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
    )


def chat_columns(lines: list[Any]) -> dict[str, Sequence[Any]] | None:
    """The columns of lines that are ordinary chat answers, every one of them; else None.

    Column by column costs a third of line by line, and this runs once per row of a million.
    """
    try:
        responses = _each("response", lines)
        bodies = _each("body", responses)
        choices = list(map(_FIRST, _each("choices", bodies)))
        messages = _each("message", choices)
        answers = _each("content", messages)
        empty = any_says_nothing(answers)
        reasons = _each("finish_reason", choices)
        statuses = list(map(_BY_REASON.__getitem__, reasons))
        usages = _each("usage", bodies)
        tokens: dict[str, Sequence[Any]] = {
            "input_tokens": _each("prompt_tokens", usages),
            "output_tokens": _each("completion_tokens", usages),
            "cached_tokens": _each_or_none("cached_tokens", _each("prompt_tokens_details", usages)),
            "reasoning_tokens": _each_or_none("reasoning_tokens", _each("completion_tokens_details", usages)),
        }
    except (AttributeError, TypeError, LookupError):
        return None  # something that is usually there is not
    codes = set(_each("status_code", responses))
    nothing = [None] * len(lines)
    odd = _each("error", lines) != nothing or _each("refusal", messages) != nothing
    if odd or empty or min(codes) < 200 or max(codes) > 299:
        return None
    columns: dict[str, Sequence[Any]] = dict.fromkeys(OUTCOME_FIELDS, nothing)
    return (
        columns
        | tokens
        | {
            "custom_id": _each("custom_id", lines),
            "status": statuses,
            "finish_reason": reasons,
            "model": _each("model", bodies),
            "answer": answers,
        }
    )


def _each(name: str, items: list[Any]) -> list[Any]:
    return list(map(attrgetter(name), items))


def _each_or_none(name: str, items: list[Any]) -> list[Any]:
    try:
        return _each(name, items)
    except AttributeError:
        return [None if item is None else getattr(item, name) for item in items]


def _ordinary_completion(line: _ChatLine) -> Outcome | None:
    body = _good_body(line)
    if body is None or not body.choices:
        return None
    choice = body.choices[0]
    status = _BY_REASON.get(choice.finish_reason)
    if says_nothing(choice.text) or status is None:
        return None
    read, written, cached, reasoning = _chat_tokens(body.usage)
    return Outcome(
        custom_id=line.custom_id,
        status=status,
        finish_reason=choice.finish_reason,
        model=body.model,
        answer=choice.text,
        input_tokens=read,
        output_tokens=written,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
    )


def _ordinary_response(line: _ResponsesLine) -> Outcome | None:
    body = _good_body(line)
    if body is None or body.status != "completed" or not body.output:
        return None
    messages = [item for item in body.output if item.type == "message"]
    if len(messages) != 1 or not messages[0].content or any(item.type in CALLS for item in body.output):
        return None
    part = messages[0].content[0]
    if len(messages[0].content) != 1 or part.type != "output_text" or says_nothing(part.text):
        return None
    read, written, cached, reasoning = _responses_tokens(body.usage)
    return Outcome(
        custom_id=line.custom_id,
        status=_SUCCEEDED,
        finish_reason="completed",
        model=body.model,
        answer=part.text,
        input_tokens=read,
        output_tokens=written,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
    )


def _ordinary_embedding(line: _EmbeddingsLine) -> Outcome | None:
    body = _good_body(line)
    if body is None or not body.data:
        return None
    vector = body.data[0].embedding
    if not isinstance(vector, list):
        vector = decode_vector(vector)
    if not vector:
        return None
    read, written, cached, reasoning = _chat_tokens(body.usage)
    return Outcome(
        custom_id=line.custom_id,
        status=_SUCCEEDED,
        model=body.model,
        answer=vector,
        input_tokens=read,
        output_tokens=written,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
    )


# Input, output, cached and reasoning tokens. A tuple: a mapping doubles what a line costs.
_FourCounts = tuple[int | None, int | None, int | None, int | None]
_NO_TOKENS: _FourCounts = (None, None, None, None)


def _chat_tokens(usage: _ChatUsage | None) -> _FourCounts:
    if usage is None:
        return _NO_TOKENS
    read, written = usage.prompt_tokens_details, usage.completion_tokens_details
    return (
        usage.prompt_tokens,
        usage.completion_tokens,
        read.cached_tokens if read is not None else None,
        written.reasoning_tokens if written is not None else None,
    )


def _responses_tokens(usage: _ResponsesUsage | None) -> _FourCounts:
    if usage is None:
        return _NO_TOKENS
    read, written = usage.input_tokens_details, usage.output_tokens_details
    return (
        usage.input_tokens,
        usage.output_tokens,
        read.cached_tokens if read is not None else None,
        written.reasoning_tokens if written is not None else None,
    )


_DIALECTS: dict[str, tuple[type[Any], Callable[[Any], Outcome | None]]] = {
    "/v1/chat/completions": (_ChatLine, _ordinary_chat),
    "/v1/completions": (_ChatLine, _ordinary_completion),
    "/v1/responses": (_ResponsesLine, _ordinary_response),
    "/v1/embeddings": (_EmbeddingsLine, _ordinary_embedding),
}
