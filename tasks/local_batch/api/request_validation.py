"""What a client asks for, checked: the parameters of POST /files, POST /batches and the list calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

import orjson

from tasks.local_batch.protocol.batch_object import (
    INPUT_SECONDS,
    ApiError,
    Batch,
    StoredFile,
    new_batch_id,
    new_file_id,
    unix_now,
)
from tasks.stages.validate import MAX_BYTES, REQUIRED_BY_ENDPOINT, read_lines

PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_SECONDS: Final = {"s": 1, "h": 3_600, "d": 86_400}
_RETENTION: Final = range(3_600, 2_592_001)


def batch_of(order: Any, *, seconds_allowed: bool) -> Batch:
    """A new batch as ordered. ApiError 400 when it is wrong.

    `completion_window` is OpenAI's 24h, or any number of hours or days: a model on one's own machine may need
    longer. Seconds are for tests.
    """
    if not isinstance(order, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    file_id = _string(order, "input_file_id")
    endpoint = _string(order, "endpoint")
    if endpoint not in REQUIRED_BY_ENDPOINT:
        raise _invalid("endpoint", endpoint, REQUIRED_BY_ENDPOINT)
    window = _string(order, "completion_window")
    found = re.fullmatch(r"([1-9]\d{0,5})([hds])", window)
    if found is None or (found[2] == "s" and not seconds_allowed):
        raise _invalid("completion_window", window, ("24h",))
    now = unix_now()
    return Batch(
        id=new_batch_id(),
        endpoint=endpoint,
        input_file_id=file_id,
        completion_window=window,
        created_at=now,
        expires_at=now + int(found[1]) * _SECONDS[found[2]],
        metadata=_metadata(order.get("metadata")),
        output_seconds=_retention(order.get("output_expires_after"), "output_expires_after") or INPUT_SECONDS,
    )


def file_of(filename: str, fields: Mapping[str, Any]) -> StoredFile:
    """A new file as ordered, its size still unknown. ApiError 400 when it is wrong."""
    purpose = fields.get("purpose")
    if not isinstance(purpose, str) or not purpose:
        raise _missing("purpose")
    if purpose not in PURPOSES:
        raise _invalid("purpose", purpose, PURPOSES)
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise ApiError(400, "Invalid file format for Batch API. Must be .jsonl", param="file")
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    wish = None if anchor is None and seconds is None else {"anchor": anchor, "seconds": seconds}
    kept = _retention(wish, "expires_after") or (INPUT_SECONDS if purpose == "batch" else None)
    now = unix_now()
    return StoredFile(new_file_id(), 0, now, None if kept is None else now + kept, filename, purpose)


def refuse_garbage(stream: BinaryIO) -> None:
    """ApiError 400 when an upload is empty or holds not one JSON object; one good line is enough here."""
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


def _metadata(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ApiError(
            400, "Invalid type for 'metadata': expected an object.", param="metadata", code="invalid_type"
        )
    if len(value) > 16:
        text = f"Invalid 'metadata': too many properties. Expected at most 16, but got {len(value)} instead."
        raise ApiError(400, text, param="metadata", code="object_above_max_properties")
    for key, text in value.items():
        name = f"metadata.{key}"
        if not isinstance(text, str):
            raise ApiError(
                400, f"Invalid type for '{name}': expected a string.", param=name, code="invalid_type"
            )
        for what, length, most in (("key", len(key), 64), ("value", len(text), 512)):
            if length > most:
                message = f"Invalid '{name}': {what} too long. Expected at most {most} characters, but got {length}."
                raise ApiError(400, message, param=name, code="string_above_max_length")
    return value


def _retention(value: Any, name: str) -> int | None:
    if value is None:
        return None
    anchor = value.get("anchor") if isinstance(value, dict) else None
    seconds = str(value.get("seconds")) if isinstance(value, dict) else ""
    if anchor != "created_at":
        raise _invalid(f"{name}.anchor", str(anchor), ("created_at",))
    if not seconds.isdigit() or int(seconds) not in _RETENTION:
        text = (
            f"Invalid '{name}.seconds': expected an integer from {_RETENTION.start} to {_RETENTION.stop - 1}."
        )
        raise ApiError(400, text, param=f"{name}.seconds", code="invalid_value")
    return int(seconds)


def _string(order: dict[str, Any], name: str) -> str:
    value = order.get(name)
    if value is None:
        raise _missing(name)
    if not isinstance(value, str):
        raise ApiError(400, f"Invalid type for '{name}': expected a string.", param=name, code="invalid_type")
    return value


def _missing(name: str) -> ApiError:
    text = f"Missing required parameter: '{name}'."
    return ApiError(400, text, param=name, code="missing_required_parameter")


def _invalid(name: str, value: str, allowed: Any) -> ApiError:
    choices = ", ".join(f"'{choice}'" for choice in allowed)
    text = f"Invalid value: '{value}'. Supported values are: {choices}."
    return ApiError(400, text, param=name, code="invalid_value")
