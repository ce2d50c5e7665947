from __future__ import annotations

import pytest

from rigs.pictures import gif, jpeg, png, webp
from tasks.stages.prompt.media_type import media_type


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(1, 1), "image/png"),
        (jpeg(1, 1), "image/jpeg"),
        (gif(1, 1), "image/gif"),
        (webp(b"VP8 ", bytes(10)), "image/webp"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\0\0\0\x18ftypmif1", "image/heif"),
        (b"\0\0\0\x0aftypavif", "image/avif"),  # its length has a line feed in it
        (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"\0\0\0\x18ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x18ftypqt  ", "video/quicktime"),
        (b"BM\x46\0\0\0\0\0\0\0", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"%PDF-1.7", "application/pdf"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
        (b"ID3\x04", "audio/mp3"),
        (b"\xff\xfb\x90", "audio/mp3"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"<svg/>", None),
        (b"", None),
        (b"%PD", None),
    ],
)
def test_a_file_is_what_its_bytes_say(data: bytes, kind: str | None) -> None:
    assert media_type(data) == kind
