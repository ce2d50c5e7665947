"""Bodies of the OpenAI dialect that hold something else than text: vectors, moderation results, images, videos."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

from tasks.stages.answers.moderation import MODERATION_CATEGORIES
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.empty_answer import empty_answer
from tasks.stages.wire.json_values import integer, string
from tasks.stages.wire.outcome import ErrorClass, Reading


def decode_vector(value: Any) -> list[float] | None:
    """An embedding given as numbers or, with encoding_format base64, as little-endian float32."""
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
            return list(struct.unpack(f"<{len(raw) // 4}f", raw))
        except (ValueError, struct.error):
            return None
    if not isinstance(value, list):
        return None
    try:
        return [float(number) for number in value]
    except (TypeError, ValueError, OverflowError):
        return None


def embedding(body: Mapping[str, Any]) -> Reading:
    """The first vector."""
    data = body.get("data")
    first = data[0] if isinstance(data, list) and data else None
    vector = decode_vector(first.get("embedding")) if isinstance(first, dict) else None
    if not vector:
        return empty_answer("embedding")
    return Reading(status=RowStatus.SUCCEEDED, answer=vector)


def moderation(body: Mapping[str, Any]) -> Reading:
    """The first result, as `tasks.stages.answers.columns.MODERATION` has it."""
    results = body.get("results")
    first = results[0] if isinstance(results, list) and results else None
    if not isinstance(first, dict):
        return empty_answer("results")
    flags, scores = (_mapping(first.get(name)) for name in ("categories", "category_scores"))
    numbers = {name: float(score) for name, score in scores.items() if type(score) in (int, float)}
    known = {name: numbers.pop(name, None) for name in MODERATION_CATEGORIES}
    result = {
        "flagged": _flag(first.get("flagged")),
        "categories": {name: _flag(flags.get(name)) for name in MODERATION_CATEGORIES},
        "category_scores": known,
        "other_scores": numbers,
    }
    return Reading(status=RowStatus.SUCCEEDED, answer=result)


def images(body: Mapping[str, Any]) -> Reading:
    """Addresses; data URLs of embedded ones."""
    data = body.get("data")
    ending = string(body.get("output_format")) or "png"
    images = (
        [_image_url(item, ending) for item in data if isinstance(item, dict)]
        if isinstance(data, list)
        else []
    )
    urls = [url for url in images if url]
    return Reading(status=RowStatus.SUCCEEDED, answer=urls) if urls else empty_answer("image")


def _image_url(item: Mapping[str, Any], ending: str) -> str | None:
    text = string(item.get("b64_json"))
    return f"data:image/{ending};base64,{text}" if text else string(item.get("url"))


def video(body: Mapping[str, Any]) -> Reading:
    """The video object, as `tasks.stages.answers.files.VIDEO` has it."""
    state = string(body.get("status"))
    if state == "expired":
        return Reading(
            status=RowStatus.EXPIRED,
            finish_reason=state,
            error_code="video_expired",
            error_message="the video expired before it was made",
            error_class=ErrorClass.EXPIRED,
        )
    if state != "completed":  # a line in a result file is final, whatever it calls itself
        return Reading(
            status=RowStatus.FAILED,
            finish_reason=state,
            error_code=f"video_{state}",
            error_message=f"the video is {state}",
            error_class=ErrorClass.REQUEST,
        )
    texts = {name: string(body.get(name)) for name in ("id", "status", "seconds", "size")}
    answer = {**texts, "expires_at": integer(body.get("expires_at"))}
    return Reading(status=RowStatus.SUCCEEDED, answer=answer, finish_reason=state)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
