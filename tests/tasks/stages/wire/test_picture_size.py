from __future__ import annotations

import struct

import pytest

from rigs.pictures import base64_of, gif, jpeg, png, webp
from tasks.stages.wire.picture_size import picture_size


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(1000, 700), (1000, 700)),
        (gif(320, 200), (320, 200)),
        (jpeg(4000, 3000), (4000, 3000)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 640, 480)), (640, 480)),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 639 | 479 << 14)), (640, 480)),
        (webp(b"VP8X", bytes(4) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")), (640, 480)),
        (png(0, 10), None),
        (b"%PDF-1.7 and so on, which is no picture", None),
        (b"\xff\xd8\xff", None),
        (b"", None),
    ],
)
def test_reads_the_size_from_the_first_bytes(data: bytes, size: tuple[int, int] | None) -> None:
    assert picture_size(base64_of(data)) == size


@pytest.mark.parametrize("text", ["", "not base64!", "{{ img }}", "iVBO", "日本"])
def test_text_that_is_no_picture_has_no_size(text: str) -> None:
    assert picture_size(text) is None
