"""Guess the encoding of a text that is not in the one the job says, for the advice in a message."""

from __future__ import annotations

import codecs
import re

_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_JAPANESE = ("shift_jis", "cp932", "euc_jp")
_KANA = re.compile("[\u3041-\u309f\u30a1-\u30ff]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
# The more frequent half of the characters: others would be read out of Cyrillic or accented letters.
_CHINESE = {
    "gb18030": re.compile(rb"[\xb0-\xd7][\xa1-\xfe]"),
    "big5": re.compile(rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]"),
}
_HIGH_RUN = re.compile(rb"[\xc0-\xff]+")
_CAPITALS_OF_CP1251 = re.compile(rb"[\xc0-\xdf]")
_POLISH = re.compile(rb"[A-Za-z][\xb3\xb9\xbe\xbf]|[\xb3\xb9\xbe\xbf][a-z]")  # signs in cp1252
_MOST = 0.6


def likely_encoding(sample: bytes) -> str:
    """The name of a Python codec that the first bytes of a file look like."""
    for mark, name in _BOMS.items():
        if sample.startswith(mark):
            return name
    if sample.count(0) * 2 > len(sample) + 1:
        return "utf-32-be" if sample.startswith(b"\0") else "utf-32-le"
    if sample.count(0) * 4 > len(sample):
        return "utf-16-le" if sample[1:2] == b"\0" else "utf-16-be"
    if _decoded(sample, "utf-8") is not None:
        return "utf-8"
    for name in _JAPANESE:
        if _KANA.search(_decoded(sample, name) or ""):
            return name
    asian = _asian(sample)
    if asian is not None:
        return asian
    if _is_cyrillic(sample):
        # Small letters are most of a text: KOI8-R has them where cp1251 has the capitals.
        high = sum(map(len, _HIGH_RUN.findall(sample)))
        return "koi8-r" if len(_CAPITALS_OF_CP1251.findall(sample)) * 2 > high else "cp1251"
    if _POLISH.search(sample):
        return "cp1250"
    return "latin-1" if _decoded(sample, "cp1252") is None else "cp1252"


def _decoded(sample: bytes, encoding: str) -> str | None:
    """The sample as text, without a character that its end cuts; None when it is none."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None


def _asian(sample: bytes) -> str | None:
    """Korean or Chinese, where most pairs of bytes are a frequent character of it."""
    pairs = sum(byte >= 0x80 for byte in sample) / 2
    korean = _decoded(sample, "euc_kr")
    if korean and len(_HANGUL.findall(korean)) > pairs * _MOST:
        return "euc_kr"
    for name, frequent in _CHINESE.items():
        found = len(frequent.findall(sample))
        if _decoded(sample, name) is not None and found > pairs * _MOST:
            return name
    return None


def _is_cyrillic(sample: bytes) -> bool:
    """Whole words of letters that Western text only has single ones of."""
    runs = _HIGH_RUN.findall(sample)
    return bool(runs) and sum(map(len, runs)) >= 3 * len(runs)
