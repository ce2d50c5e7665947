"""Pictures and videos without a model: tiny, valid, and the same for the same row."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from tasks.local_batch.echo.request_text import plain, tokens
from tasks.local_batch.protocol.batch_object import Usage
from tasks.local_batch.protocol.lines import Row
from tasks.stages.validate import MAX_EDITED_IMAGES

VIDEO_SECONDS: Final = 86_400  # how long a video's file can be fetched
MAX_IMAGES: Final = 10
_SIDE: Final = 8
_IMAGE_TOKENS, _PICTURE_TOKENS = (
    323,
    272,
)  # what one given, and one made at low quality, has been seen to count
_SIZE = re.compile(r"auto|[1-9]\d*x[1-9]\d*")
_VIDEO_ID = re.compile(r"video_([0-9a-f]{8})[0-9a-f]{16}([0-9a-f]{8})")
_IMAGE_OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "quality": ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
    "background": ("auto", "transparent", "opaque"),
    "output_format": ("png", "webp", "jpeg"),
    "moderation": ("auto", "low"),
}


def images(row: Row, _: Any, created: int) -> tuple[bytes, Usage]:
    """Two kinds of endpoint: pictures of a prompt, and pictures after others."""
    asked = orjson.loads(bytes(row.body))
    edits = row.url == "/v1/images/edits"
    _check_image(asked, edits=edits)
    prompt = plain(asked.get("prompt"))
    count = asked.get("n") or 1
    text, seen = tokens(len(prompt)), _IMAGE_TOKENS * len(asked["images"]) if edits else 0
    usage = Usage(text + seen, 0, _PICTURE_TOKENS * count, 0)
    reply = {
        "created": created,
        "background": "opaque",
        "data": [{"b64_json": _picture(f"{prompt}/{at}")} for at in range(count)],
        "output_format": "png",  # whatever was asked for: it draws no other
        "quality": "low",
        "size": "8x8",
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }
    return orjson.dumps(reply), usage


def videos(row: Row, _: Any, created: int) -> tuple[bytes, Usage]:
    """A video object; its file is `video_file`."""
    asked = orjson.loads(bytes(row.body))
    _check_video(asked)
    reply = {
        "id": _video_id(row.custom_id, created),
        "object": "video",
        "model": asked.get("model") or "sora-2",
        "status": "completed",
        "progress": 100,
        "created_at": created,
        "completed_at": created,
        "expires_at": created + VIDEO_SECONDS,
        "seconds": asked.get("seconds") or "4",
        "size": asked.get("size") or "720x1280",
        "prompt": asked.get("prompt"),
        "remixed_from_video_id": None,
        "error": None,
    }
    return orjson.dumps(reply), Usage()


def _check_image(body: Mapping[str, Any], *, edits: bool) -> None:
    """ValueError, in OpenAI's words as far as they are known, for a body that /images would refuse."""
    n = body.get("n")
    if n is not None and (type(n) is not int or not 1 <= n <= MAX_IMAGES):
        raise ValueError(f"'n' must be an integer from 1 to {MAX_IMAGES}.")
    size = body.get("size")
    if size is not None and not (isinstance(size, str) and _SIZE.fullmatch(size)):
        raise ValueError("'size' must be 'auto' or WIDTHxHEIGHT.")
    for name, allowed in _IMAGE_OPTIONS.items():
        _one_of(body, name, allowed)
    if not edits:
        return
    images = body.get("images")
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_EDITED_IMAGES:
        raise ValueError(f"'images' must list from 1 to {MAX_EDITED_IMAGES} images.")
    for at, image in enumerate(images):
        _reference(f"images[{at}]", image)
    if body.get("mask") is not None:
        _reference("mask", body["mask"])


def _check_video(body: Mapping[str, Any]) -> None:
    """ValueError for a body that /videos would refuse."""
    _one_of(body, "seconds", ("4", "8", "12"))
    _one_of(body, "size", ("720x1280", "1280x720", "1024x1792", "1792x1024"))
    if body.get("input_reference") is not None:
        _reference("input_reference", body["input_reference"])


def _picture(seed: str) -> str:
    """A PNG of one colour, eight pixels square, as base64."""
    colour = hashlib.blake2b(seed.encode(), digest_size=3).digest()
    header = struct.pack(">2I5B", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + colour * _SIDE) * _SIDE)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def _video_id(custom_id: str, created: int) -> str:
    """An id that says when the video was made, and that nobody makes up: what it stands for is stored nowhere."""
    digest = hashlib.blake2b(custom_id.encode(), digest_size=8).hexdigest()
    known = f"{created:08x}{digest}"
    return f"video_{known}{_check_digits(known)}"


def video_file(name: str, now: int) -> bytes | None:
    """The bytes of a video: an MP4 that holds its id and no picture. None for an unknown or expired one."""
    found = _VIDEO_ID.fullmatch(name)
    if found is None or found[2] != _check_digits(name[len("video_") : -8]):
        return None
    if now >= int(found[1], 16) + VIDEO_SECONDS:
        return None
    return _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + _box(b"mdat", name.encode())


def _check_digits(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4, key=b"nightmail").hexdigest()


def _one_of(body: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> None:
    value = body.get(name)
    if value is not None and value not in allowed:
        choices = ", ".join(f"'{choice}'" for choice in allowed)
        raise ValueError(f"Invalid value: '{value}'. Supported values of '{name}' are: {choices}.")


def _reference(name: str, value: Any) -> None:
    if not isinstance(value, dict) or len(value.keys() & {"image_url", "file_id"}) != 1:
        raise ValueError(f"'{name}' must have either 'image_url' or 'file_id'.")
    if not all(isinstance(text, str) and text for text in value.values()):
        raise ValueError(f"'{name}' must hold text.")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data
