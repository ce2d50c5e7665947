"""Replies of the image and video endpoints without a model: tiny, valid files, the same ones for the same row."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from tasks.local_batch.echo.request_body import as_text
from tasks.local_batch.echo.token_counts import prompt_tokens
from tasks.local_batch.protocol.batch_object import TokenUsage
from tasks.local_batch.protocol.lines import RequestLine
from tasks.stages.validate import MAX_EDITED_IMAGES

VIDEO_SECONDS: Final = 86_400  # a video's file can be fetched for a day, as OpenAI documents it for batches
MAX_IMAGES: Final = 10
_SIDE_PIXELS: Final = 8
# What one image that was sent, and one that was made at low quality, has been seen to count.
_INPUT_IMAGE_TOKENS, _OUTPUT_IMAGE_TOKENS = 323, 272
_SIZE = re.compile(r"auto|[1-9]\d*x[1-9]\d*")
_VIDEO_ID = re.compile(r"video_([0-9a-f]{8})[0-9a-f]{16}([0-9a-f]{8})")
# https://platform.openai.com/docs/api-reference/images/create
_IMAGE_OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "quality": ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
    "background": ("auto", "transparent", "opaque"),
    "output_format": ("png", "webp", "jpeg"),
    "moderation": ("auto", "low"),
}


def image_reply(row: RequestLine, _: Any, created: int) -> tuple[bytes, TokenUsage]:
    """The reply of /v1/images/generations and /v1/images/edits: as many images as were asked for, as base64."""
    body = orjson.loads(bytes(row.body))
    edits = row.url == "/v1/images/edits"
    _check_image(body, edits=edits)
    prompt = as_text(body.get("prompt"))
    count = body.get("n") or 1
    text_tokens = prompt_tokens(row)
    image_tokens = _INPUT_IMAGE_TOKENS * len(body["images"]) if edits else 0
    usage = TokenUsage(text_tokens + image_tokens, 0, _OUTPUT_IMAGE_TOKENS * count, 0)
    reply = {
        "created": created,
        "background": "opaque",
        "data": [{"b64_json": _png(f"{prompt}/{index}")} for index in range(count)],
        "output_format": "png",  # whatever was asked for: the echo makes no other
        "quality": "low",
        "size": "8x8",
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": image_tokens},
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }
    return orjson.dumps(reply), usage


def video_reply(row: RequestLine, _: Any, created: int) -> tuple[bytes, TokenUsage]:
    """The reply of /v1/videos: a finished video object; `video_file` are its bytes, fetched apart."""
    body = orjson.loads(bytes(row.body))
    _check_video(body)
    reply = {
        "id": _video_id(row.custom_id, created),
        "object": "video",
        "model": body.get("model") or "sora-2",
        "status": "completed",
        "progress": 100,
        "created_at": created,
        "completed_at": created,
        "expires_at": created + VIDEO_SECONDS,
        "seconds": body.get("seconds") or "4",
        "size": body.get("size") or "720x1280",
        "prompt": body.get("prompt"),
        "remixed_from_video_id": None,
        "error": None,
    }
    return orjson.dumps(reply), TokenUsage()  # video objects report no usage


def _check_image(body: Mapping[str, Any], *, edits: bool) -> None:
    """ValueError, in OpenAI's words as far as they are known, for a body that /images would refuse."""
    n = body.get("n")
    if n is not None and (type(n) is not int or not 1 <= n <= MAX_IMAGES):
        raise ValueError(f"'n' must be an integer from 1 to {MAX_IMAGES}.")
    size = body.get("size")
    if size is not None and not (isinstance(size, str) and _SIZE.fullmatch(size)):
        raise ValueError("'size' must be 'auto' or WIDTHxHEIGHT.")
    for name, allowed in _IMAGE_OPTIONS.items():
        _check_choice(body, name, allowed)
    if not edits:
        return
    images = body.get("images")
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_EDITED_IMAGES:
        raise ValueError(f"'images' must list from 1 to {MAX_EDITED_IMAGES} images.")
    for index, image in enumerate(images):
        _check_reference(f"images[{index}]", image)
    if body.get("mask") is not None:
        _check_reference("mask", body["mask"])


def _check_video(body: Mapping[str, Any]) -> None:
    """ValueError for a body that /videos would refuse."""
    _check_choice(body, "seconds", ("4", "8", "12"))
    _check_choice(body, "size", ("720x1280", "1280x720", "1024x1792", "1792x1024"))
    if body.get("input_reference") is not None:
        _check_reference("input_reference", body["input_reference"])


def _png(seed: str) -> str:
    """A PNG of one colour, eight pixels square, as base64: whatever opens the answers must find a real image."""
    colour = hashlib.blake2b(seed.encode(), digest_size=3).digest()
    header = struct.pack(">2I5B", _SIDE_PIXELS, _SIDE_PIXELS, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + colour * _SIDE_PIXELS) * _SIDE_PIXELS)
    chunks = (_png_chunk(b"IHDR", header), _png_chunk(b"IDAT", pixels), _png_chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def _video_id(custom_id: str, created: int) -> str:
    """An id that says when the video was made and proves that an echo made it: nothing about it is stored."""
    row_hash = hashlib.blake2b(custom_id.encode(), digest_size=8).hexdigest()
    payload = f"{created:08x}{row_hash}"
    return f"video_{payload}{_check_digits(payload)}"


def video_file(video_id: str, now: int) -> bytes | None:
    """The bytes of a video: an MP4 that holds its id and no picture. None for an unknown or expired one."""
    match = _VIDEO_ID.fullmatch(video_id)
    if match is None or match[2] != _check_digits(video_id[len("video_") : -8]):
        return None
    if now >= int(match[1], 16) + VIDEO_SECONDS:
        return None
    return _mp4_box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + _mp4_box(b"mdat", video_id.encode())


def _check_digits(payload: str) -> str:
    return hashlib.blake2b(payload.encode(), digest_size=4, key=b"nightmail").hexdigest()


def _check_choice(body: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> None:
    value = body.get(name)
    if value is not None and value not in allowed:
        choices = ", ".join(f"'{choice}'" for choice in allowed)
        raise ValueError(f"Invalid value: '{value}'. Supported values of '{name}' are: {choices}.")


def _check_reference(name: str, value: Any) -> None:
    if not isinstance(value, dict) or len(value.keys() & {"image_url", "file_id"}) != 1:
        raise ValueError(f"'{name}' must have either 'image_url' or 'file_id'.")
    if not all(isinstance(text, str) and text for text in value.values()):
        raise ValueError(f"'{name}' must hold text.")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _mp4_box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data
