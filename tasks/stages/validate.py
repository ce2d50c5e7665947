"""Validate a batch input file by the rules of OpenAI's batch validation, with its error codes and texts.

Limits are counted in bytes of UTF-8, newlines included, and hold to the byte. Where codes and texts come from:

    invalid_json_line, missing_required_parameter, invalid_url, streaming_unsupported
                            replies of the real service, as recorded in the tests of ogx
    mismatched_model        https://platform.openai.com/docs/guides/batch: one model a file
    duplicate_custom_id     the text from OpenAI's community forum (topic 723696); the code is Azure's
    too_many_tasks, empty_file
                            Azure's published codes; OpenAI publishes no list
    file_too_large, line_too_large, invalid_custom_id, too_many_embedding_inputs, mismatched_* of other fields
                            ours: no service has published one
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import orjson

# https://platform.openai.com/docs/guides/batch
MAX_REQUESTS: Final = 50_000
MAX_BYTES: Final = 209_715_200  # documented as "200 MB"; the service's own error text names this number
MAX_EMBEDDING_INPUTS: Final = 50_000  # over the whole file
MAX_EDITED_IMAGES: Final = 16
# Models that answer "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
NO_MAX_TOKENS: Final = re.compile(r"(gpt-[5-9]|o[1-9])(?![0-9])")

# What a body must hold besides its model; any one of a tuple is enough.
REQUIRED_BY_ENDPOINT: Final[dict[str, tuple[str, ...]]] = {
    "/v1/responses": ("input", "prompt"),
    "/v1/chat/completions": ("messages",),
    "/v1/embeddings": ("input",),
    "/v1/completions": ("prompt",),
    "/v1/moderations": ("input",),
    "/v1/images/generations": ("prompt",),
    "/v1/images/edits": ("prompt",),
    "/v1/videos": ("prompt",),
}
MODEL_OPTIONAL: Final = frozenset({"/v1/moderations", "/v1/videos"})
BodyRules = Callable[[str, dict[str, Any]], Iterable[tuple[str, str]]]
"""(parameter, message) of everything that is wrong with a body at an endpoint."""
_NOT_SEEN: Final = object()
_TYPE_NAMES: Final = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why the file would be refused; `line` is 1-based, None for the file as a whole."""

    line: int | None
    code: str
    message: str
    param: str | None = None


class _LineError(Exception):
    """A line's problem, on its way out of the nested checks."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def read_lines(stream: BinaryIO, max_bytes: int = MAX_BYTES) -> Iterator[bytes]:
    """Lines of a binary stream, each with its newline; never more than `max_bytes` + 1 in memory."""
    while line := stream.readline(max_bytes + 1):
        yield line


def check_lines(
    lines: Iterable[bytes],
    *,
    endpoint: str | None,
    max_requests: int = MAX_REQUESTS,
    max_bytes: int = MAX_BYTES,
    max_line_bytes: int | None = None,
    custom_id_pattern: str | None = None,
    endpoints: Collection[str] = REQUIRED_BY_ENDPOINT,
    uniform: Sequence[str] = (),
    body_rules: BodyRules | None = None,
) -> Iterator[Problem]:
    """Every problem of the file, in line order, at most one per line.

    `lines` are bytes split at `\\n`, each with its newline (a file opened in binary mode gives exactly that).
    `endpoint` None takes the first line's url, one of `endpoints`. `uniform` names fields of the body that have one
    value in the whole file, beside the model; `body_rules` say what else is wrong with a body. Ends early at a file-level
    limit.
    """
    check = InputCheck(
        endpoint=endpoint,
        max_requests=max_requests,
        max_bytes=max_bytes,
        max_line_bytes=max_line_bytes,
        custom_id_pattern=custom_id_pattern,
        endpoints=endpoints,
        uniform=uniform,
        body_rules=body_rules,
    )
    yield from check.problems(lines)


class InputCheck:
    """The check of one file. Once its problems have been read, it also knows `requests`, `bytes` and `model`."""

    def __init__(
        self,
        *,
        endpoint: str | None,
        max_requests: int = MAX_REQUESTS,
        max_bytes: int = MAX_BYTES,
        max_line_bytes: int | None = None,
        custom_id_pattern: str | None = None,
        endpoints: Collection[str] = REQUIRED_BY_ENDPOINT,
        uniform: Sequence[str] = (),
        body_rules: BodyRules | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.model: str | None = None
        self.requests = 0
        self.bytes = 0
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_line_bytes = max_line_bytes
        self._pattern = re.compile(custom_id_pattern) if custom_id_pattern else None
        self._endpoints = endpoints
        self._uniform: dict[str, Any] = dict.fromkeys(uniform, _NOT_SEEN)
        self._body_rules = body_rules
        self._seen: set[str] = set()
        self._inputs = 0

    def problems(self, lines: Iterable[bytes]) -> Iterator[Problem]:
        """Check every line; stops at the first file-level problem."""
        for line in lines:
            self.bytes += len(line)
            if self.bytes > self._max_bytes:
                yield self._file_too_large()
                return
            self.requests += 1
            if self.requests > self._max_requests:
                text = f"The batch input file holds more than {self._max_requests} requests."
                yield Problem(None, "too_many_tasks", text)
                return
            try:
                self._check_line(line)
            except _LineError as error:
                yield Problem(self.requests, error.code, error.message, error.param)
        if not self.requests:
            yield Problem(None, "empty_file", "The batch input file is empty.")

    def _file_too_large(self) -> Problem:
        model = f" for the {self.model} model" if self.model else ""
        return Problem(
            None,
            "file_too_large",
            f"Batch input file is larger than the {self._max_bytes} maximum{model}.",
        )

    def _check_line(self, line: bytes) -> None:
        if self._max_line_bytes is not None and len(line) > self._max_line_bytes:
            raise _LineError("line_too_large", f"This line is larger than {self._max_line_bytes} bytes.")
        request = _parse(line)
        self._check_custom_id(request.get("custom_id"))
        if _string(request, "method") != "POST":
            text = f"Invalid value: '{request['method']}'. Supported values are: 'POST'."
            raise _LineError("invalid_value", text, "method")
        self._check_url(_string(request, "url"))
        self._check_body(_present(request, "body"))

    def _check_custom_id(self, value: Any) -> None:
        if value is None or value == "":
            raise _missing("custom_id")
        if type(value) is not str:
            raise _wrong_type("custom_id", "a string", value)
        if value in self._seen:  # as they are: services compare ids without trimming or folding case
            raise _LineError(
                "duplicate_custom_id",
                "The custom_id for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch.",
                "custom_id",
            )
        self._seen.add(value)
        if self._pattern and not self._pattern.fullmatch(value):
            raise _LineError(
                "invalid_custom_id", f"The custom_id must match {self._pattern.pattern}.", "custom_id"
            )

    def _check_url(self, url: str) -> None:
        if self.endpoint is None:
            if url not in self._endpoints:
                raise _LineError(
                    "invalid_url", "The URL provided for this request is no batch endpoint.", "url"
                )
            self.endpoint = url
        if url != self.endpoint:
            raise _LineError(
                "invalid_url",
                "The URL provided for this request does not match the batch endpoint.",
                "url",
            )

    def _check_body(self, body: Any) -> None:
        if type(body) is not dict:
            raise _wrong_type("body", "an object", body)
        endpoint = self.endpoint or ""
        model = body.get("model")
        if model is None and endpoint not in MODEL_OPTIONAL:
            raise _missing("body.model")
        if model is not None and type(model) is not str:
            raise _wrong_type("body.model", "a string", model)
        if body.get("stream"):
            raise _LineError(
                "streaming_unsupported", "Streaming is not supported in the Batch API.", "body.stream"
            )
        self._check_required(endpoint, body)
        if self.model is None:
            self.model = model
        elif model is not None and model != self.model:
            raise _LineError(
                "mismatched_model", "Each batch must contain requests for a single model.", "body.model"
            )
        for name, value in self._uniform.items():
            if value is _NOT_SEEN:
                self._uniform[name] = body.get(name)
            elif value != body.get(name):
                raise _LineError(f"mismatched_{name}", f"Each batch must have one {name}.", f"body.{name}")

        for param, message in self._body_rules(endpoint, body) if self._body_rules else ():
            raise _LineError("invalid_value", message, f"body.{param}")

    def _check_required(self, endpoint: str, body: dict[str, Any]) -> None:
        names = REQUIRED_BY_ENDPOINT.get(endpoint, ())
        if names and all(body.get(name) is None for name in names):
            raise _missing(f"body.{names[0]}")
        if endpoint == "/v1/chat/completions" and type(body["messages"]) is not list:
            raise _wrong_type("body.messages", "an array", body["messages"])
        if endpoint == "/v1/embeddings":
            self._count_inputs(body["input"])

    def _count_inputs(self, value: Any) -> None:
        # A list of numbers is one input, given as tokens.
        is_list = type(value) is list and value and type(value[0]) is not int
        self._inputs += len(value) if is_list else 1
        if self._inputs > MAX_EMBEDDING_INPUTS:
            raise _LineError(
                "too_many_embedding_inputs",
                f"A batch may hold at most {MAX_EMBEDDING_INPUTS} embedding inputs over all its requests.",
                "body.input",
            )


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        # Azure answers a byte order mark with an error about the deployment's name.
        hint = (
            " It starts with a byte order mark: write UTF-8 without one."
            if line[:3] == b"\xef\xbb\xbf"
            else ""
        )
        raise _LineError("invalid_json_line", f"This line is not parseable as valid JSON.{hint}") from None
    if type(request) is not dict:
        raise _LineError("invalid_json_line", "This line is not a JSON object.")
    return request


def _present(request: dict[str, Any], name: str) -> Any:
    value = request.get(name)
    if value is None:
        raise _missing(name)
    return value


def _string(request: dict[str, Any], name: str) -> str:
    value = _present(request, name)
    if type(value) is not str:
        raise _wrong_type(name, "a string", value)
    return value


def _missing(param: str) -> _LineError:
    return _LineError("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def _wrong_type(param: str, expected: str, value: Any) -> _LineError:
    actual = _TYPE_NAMES.get(type(value), "an object" if isinstance(value, dict) else "null")
    return _LineError(
        "invalid_type", f"Invalid type for '{param}': expected {expected}, but got {actual} instead.", param
    )
