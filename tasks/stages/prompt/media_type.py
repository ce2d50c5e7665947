"""What kind of picture, document, sound or video some bytes are, by how they begin: a file's name may say anything."""

from __future__ import annotations

import re
from typing import Final

_BEGINNINGS: Final = (
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"....ftyp(?:heic|heix|hevc|heim|heis)", "image/heic"),
    (rb"....ftyp(?:mif1|msf1)", "image/heif"),
    (rb"....ftypavi[fs]", "image/avif"),
    (rb"....ftypM4A", "audio/mp4"),
    (rb"....ftypqt", "video/quicktime"),
    (rb"....ftyp", "video/mp4"),
    (rb"BM....\x00\x00\x00\x00", "image/bmp"),
    (rb"II\*\x00|MM\x00\*", "image/tiff"),
    (rb"%PDF-", "application/pdf"),
    (rb"RIFF....WAVE", "audio/wav"),
    (rb"ID3|\xff[\xf3\xfb]", "audio/mp3"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS", "audio/ogg"),
    (rb"\x1aE\xdf\xa3", "video/webm"),
)
_COMPILED: Final = tuple((re.compile(begins, re.DOTALL), kind) for begins, kind in _BEGINNINGS)


def media_type(data: bytes) -> str | None:
    """The media type; None where the beginning does not say."""
    return next((kind for begins, kind in _COMPILED if begins.match(data)), None)
