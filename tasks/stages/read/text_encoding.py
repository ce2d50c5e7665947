"""Guess the encoding of a text that is not in the one the job says, for the advice in a message."""

from __future__ import annotations

import codecs
import re

_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_JAPANESE = ("shift_jis", "cp932", "euc_jp")
_KANA = re.compile("[\u3041-\u309f\u30a1-\u30ff]")
_HIGH_RUN = re.compile(rb"[\xc0-\xff]+")


def likely_encoding(sample: bytes) -> str:
    """The name of a Python codec that the first bytes of a file look like."""
    for mark, name in _BOMS.items():
        if sample.startswith(mark):
            return name
    if sample.count(0) * 4 > len(sample):
        return "utf-16-le" if sample[1:2] == b"\0" else "utf-16-be"
    if _decoded(sample, "utf-8") is not None:
        return "utf-8"
    for name in _JAPANESE:
        if _KANA.search(_decoded(sample, name) or ""):
            return name
    if _is_cyrillic(sample):
        return "cp1251"
    return "latin-1" if _decoded(sample, "cp1252") is None else "cp1252"


def _decoded(sample: bytes, encoding: str) -> str | None:
    """The sample as text, without a character that its end cuts; None when it is none."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None


def _is_cyrillic(sample: bytes) -> bool:
    """Whole words of letters that Western text only has single ones of."""
    runs = _HIGH_RUN.findall(sample)
    return bool(runs) and sum(map(len, runs)) >= 3 * len(runs)
