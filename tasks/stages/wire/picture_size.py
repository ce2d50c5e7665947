"""The width and height of a picture, read from the first bytes of its base64: PNG, GIF, WebP, JPEG."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Final

# Where a JPEG says its size depends on what stands before it: thumbnails and colour profiles take up to 64 KB each.
_HEAD_CHARS: Final = 64
_JPEG_CHARS: Final = 1 << 20
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def picture_size(encoded: str) -> tuple[int, int] | None:
    """(width, height) in pixels; None when the bytes do not say."""
    head = _decoded(encoded[:_HEAD_CHARS])
    try:
        if head.startswith(b"\xff\xd8"):
            found = _jpeg(_decoded(encoded[:_JPEG_CHARS]))
        else:
            found = _png(head) or _gif(head) or _webp(head)
    except (struct.error, IndexError):
        return None
    return found if found and min(found) > 0 else None


def _decoded(encoded: str) -> bytes:
    whole = encoded[: len(encoded) // 4 * 4].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(whole)
    except (binascii.Error, ValueError):
        return b""


def _png(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _gif(head: bytes) -> tuple[int, int] | None:
    if head[:6] not in (b"GIF87a", b"GIF89a"):
        return None
    width, height = struct.unpack_from("<HH", head, 6)
    return width, height


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    match head[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", head, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (packed,) = struct.unpack_from("<I", head, 21)
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 < len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += (
            2 if marker == 1 or 0xD0 <= marker <= 0xD8 else 2 + struct.unpack_from(">H", data, place + 2)[0]
        )
    return None
