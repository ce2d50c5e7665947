"""The encoding that a sample of bytes looks like."""

from __future__ import annotations

import pytest

from tasks.stages.read.text_encoding import likely_encoding


@pytest.mark.parametrize(
    ("sample", "encoding"),
    [
        (b"", "utf-8"),
        ("é日".encode(), "utf-8"),
        ("é日".encode()[:-1], "utf-8"),
        ("\ufeffx".encode(), "utf-8"),
        ("Zoë – €".encode("cp1252"), "cp1252"),
        (b"Zo\xebn\x81", "latin-1"),
        ("カタカナ".encode("cp932"), "shift_jis"),
        ("カタカナ".encode("euc_jp"), "euc_jp"),
        ("Привет".encode("cp1251"), "cp1251"),
        ("x".encode("utf-16-be"), "utf-16-be"),
    ],
)
def test_the_likely_encoding(sample: bytes, encoding: str) -> None:
    assert likely_encoding(sample) == encoding
