"""Pictures of a given size, as far as their first bytes say it."""

from __future__ import annotations

import base64
import struct


def png(width: int, height: int, size: int = 200) -> bytes:
    """`size` bytes that begin as a PNG of those pixels does."""
    head = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    )
    return head + bytes(size - len(head))


def jpeg(width: int, height: int) -> bytes:
    """A JPEG with a thumbnail of 40,000 bytes before its size."""
    thumbnail = b"\xff\xe1" + struct.pack(">H", 40_002) + bytes(40_000)
    return b"\xff\xd8" + thumbnail + b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(20)


def gif(width: int, height: int) -> bytes:
    """The first bytes of a GIF."""
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(20)


def webp(kind: bytes, body: bytes) -> bytes:
    """The first bytes of a WebP with one chunk."""
    return b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind + struct.pack("<I", 50) + body + bytes(20)


def base64_of(data: bytes) -> str:
    """As it stands in a request."""
    return base64.b64encode(data).decode()


def data_url(data: bytes) -> str:
    """As OpenAI takes it."""
    return "data:image/png;base64," + base64_of(data)
