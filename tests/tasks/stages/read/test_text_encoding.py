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
        ("Привет мир, как дела".encode("koi8-r"), "koi8-r"),
        ("Заказ доставлен вовремя".encode("cp1251"), "cp1251"),
        ("Zażółć gęślą jaźń".encode("cp1250"), "cp1250"),
        ("Größe über Maß, naïve façade, señor".encode("cp1252"), "cp1252"),
        ("ÀÉÈÇ ça déjà vu".encode("latin-1"), "cp1252"),
        ("한국어 텍스트입니다".encode("euc_kr"), "euc_kr"),
        ("中文测试数据，质量很好".encode("gb18030"), "gb18030"),
        ("中文測試資料，品質很好".encode("big5"), "big5"),
        ("x".encode("utf-16-be"), "utf-16-be"),
        ("id,name".encode("utf-16-le"), "utf-16-le"),
        ("id,name".encode("utf-32"), "utf-32"),
        ("id,name".encode("utf-32-be"), "utf-32-be"),
    ],
)
def test_the_likely_encoding(sample: bytes, encoding: str) -> None:
    assert likely_encoding(sample) == encoding
