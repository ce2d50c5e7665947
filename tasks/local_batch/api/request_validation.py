"""Check the parameters of POST /v1/files, POST /v1/batches and the list calls, and make the new objects of them.

Refused as OpenAI refuses it: HTTP 400, `invalid_request_error`, with the parameter's name. What is wrong *inside* an
input file is no concern of these calls: as at OpenAI, creating a batch over a bad or missing file succeeds, and the
batch fails later (`batches/input_check.py`). The limits are from the SDK's own documentation of the parameters; the
texts are OpenAI's where they have been published or reported, else ours in their style.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, Final

import orjson

from tasks.local_batch.protocol.api_error import ApiError
from tasks.local_batch.protocol.batch_object import StoredBatch, new_batch_id
from tasks.local_batch.protocol.file_object import DEFAULT_RETENTION_SECONDS, StoredFile, new_file_id
from tasks.local_batch.protocol.unix_time import unix_now
from tasks.stages.validate import MAX_BYTES, REQUIRED_BY_ENDPOINT, read_lines

# What may be uploaded; `batch_output` and the like are only made by the service.
PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_WINDOW: Final = re.compile(r"([1-9]\d{0,5})([hds])")
_SECONDS: Final = {"s": 1, "h": 3_600, "d": 86_400}
_RETENTION_SECONDS: Final = range(3_600, 2_592_001)  # an hour to 30 days, of files and of results alike
_MAX_METADATA_PAIRS: Final = 16
_MAX_KEY_CHARS, _MAX_VALUE_CHARS = 64, 512


def batch_from_request(parameters: Any, *, seconds_allowed: bool) -> StoredBatch:
    """The new batch that the parsed body of POST /v1/batches asks for. ApiError 400 when it is wrong.

    `completion_window` is OpenAI's 24h, or any number of hours or days: a model on one's own machine may need
    longer. Seconds are for tests. Whether the input file exists is not looked at: OpenAI finds that out while the
    batch is validating.
    """
    if not isinstance(parameters, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    file_id = _string(parameters, "input_file_id")
    endpoint = _string(parameters, "endpoint")
    if endpoint not in REQUIRED_BY_ENDPOINT:
        raise _invalid_value("endpoint", endpoint, REQUIRED_BY_ENDPOINT)
    window = _string(parameters, "completion_window")
    match = _WINDOW.fullmatch(window)
    if match is None or (match[2] == "s" and not seconds_allowed):
        raise _invalid_value("completion_window", window, ("24h",))
    now = unix_now()
    return StoredBatch(
        id=new_batch_id(),
        endpoint=endpoint,
        input_file_id=file_id,
        completion_window=window,
        created_at=now,
        expires_at=now + int(match[1]) * _SECONDS[match[2]],
        metadata=_metadata(parameters.get("metadata")),
        output_seconds=_retention(parameters.get("output_expires_after"), "output_expires_after")
        or DEFAULT_RETENTION_SECONDS,
    )


def file_from_form(filename: str, fields: Mapping[str, Any]) -> StoredFile:
    """The new file that the form of POST /v1/files asks for, its size still unknown. ApiError 400 when it is wrong."""
    purpose = fields.get("purpose")
    if not isinstance(purpose, str) or not purpose:
        raise missing_parameter("purpose")
    if purpose not in PURPOSES:
        raise _invalid_value("purpose", purpose, PURPOSES)
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl", param="file")
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    expires_after = None if anchor is None and seconds is None else {"anchor": anchor, "seconds": seconds}
    retention = _retention(expires_after, "expires_after")
    if retention is None and purpose == "batch":  # files of other purposes are kept until they are deleted
        retention = DEFAULT_RETENTION_SECONDS
    now = unix_now()
    expires_at = None if retention is None else now + retention
    return StoredFile(new_file_id(), 0, now, expires_at, filename, purpose)


def refuse_unparsable(stream: BinaryIO) -> None:
    """ApiError 400 when an upload is empty or holds not one JSON object.

    One good line is enough: OpenAI accepts a file with some bad lines, and fails the batch over it later.
    """
    for line in read_lines(stream, MAX_BYTES):
        try:
            if isinstance(orjson.loads(line), dict):
                stream.seek(0)
                return
        except orjson.JSONDecodeError:
            continue
    raise ApiError(
        400, "Invalid file format. Batch input must be JSON objects, one a line (jsonl).", param="file"
    )


def page_limit(text: str | None, *, default: int, most: int) -> int:
    """The `limit` of a list call. ApiError 400 outside 1..most."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise ApiError(
            400,
            f"Invalid 'limit': expected an integer from 1 to {most}.",
            param="limit",
            code="invalid_value",
        )
    return int(text)


def missing_parameter(name: str) -> ApiError:
    """400 for a call without a parameter that it needs."""
    text = f"Missing required parameter: '{name}'."
    return ApiError(400, text, param=name, code="missing_required_parameter")


def _metadata(value: Any) -> dict[str, str] | None:
    """Checked as OpenAI checks it: a client that sends a number instead of a string must find out here, not in production."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ApiError(
            400, "Invalid type for 'metadata': expected an object.", param="metadata", code="invalid_type"
        )
    if len(value) > _MAX_METADATA_PAIRS:
        message = (
            f"Invalid 'metadata': too many properties. Expected at most {_MAX_METADATA_PAIRS}, "
            f"but got {len(value)} instead."
        )
        raise ApiError(400, message, param="metadata", code="object_above_max_properties")
    for key, text in value.items():
        _check_metadata_pair(key, text)
    return value


def _check_metadata_pair(key: str, text: Any) -> None:
    name = f"metadata.{key}"
    if not isinstance(text, str):
        raise ApiError(400, f"Invalid type for '{name}': expected a string.", param=name, code="invalid_type")
    for part, length, most in (("key", len(key), _MAX_KEY_CHARS), ("value", len(text), _MAX_VALUE_CHARS)):
        if length > most:
            message = (
                f"Invalid '{name}': {part} too long. Expected at most {most} characters, but got {length}."
            )
            raise ApiError(400, message, param=name, code="string_above_max_length")


def _retention(value: Any, name: str) -> int | None:
    """Seconds of an `expires_after` or `output_expires_after`; None where it is left out."""
    if value is None:
        return None
    anchor = value.get("anchor") if isinstance(value, dict) else None
    seconds = str(value.get("seconds")) if isinstance(value, dict) else ""  # text in a form, a number in JSON
    if anchor != "created_at":
        raise _invalid_value(f"{name}.anchor", str(anchor), ("created_at",))
    if not seconds.isdigit() or int(seconds) not in _RETENTION_SECONDS:
        first, last = _RETENTION_SECONDS.start, _RETENTION_SECONDS.stop - 1
        message = f"Invalid '{name}.seconds': expected an integer from {first} to {last}."
        raise ApiError(400, message, param=f"{name}.seconds", code="invalid_value")
    return int(seconds)


def _string(parameters: dict[str, Any], name: str) -> str:
    value = parameters.get(name)
    if value is None:
        raise missing_parameter(name)
    if not isinstance(value, str):
        raise ApiError(400, f"Invalid type for '{name}': expected a string.", param=name, code="invalid_type")
    return value


def _invalid_value(name: str, value: str, allowed: Iterable[str]) -> ApiError:
    choices = ", ".join(f"'{choice}'" for choice in allowed)
    text = f"Invalid value: '{value}'. Supported values are: {choices}."
    return ApiError(400, text, param=name, code="invalid_value")
