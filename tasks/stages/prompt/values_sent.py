"""What becomes of a template's value on its way into the request: text, or the number, list or address that is due there.

A template whose whole text is one expression can be sent as something else than text; what cannot be is an error of its
row, with what to write instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from types import UnionType
from typing import Any, Final, NamedTuple

from jinja2 import Environment, TemplateSyntaxError, nodes

from tasks.stages.prompt import values
from tasks.stages.prompt.number_filters import no_number


class SentAs(StrEnum):
    """How a template's value is sent; each member names the filter that makes JSON of it."""

    TEXT = "_nightmail_text"
    TYPED = "_nightmail_typed"
    """A parameter that ends in one of `TYPED_FILTERS`: the number, truth value or JSON that the filter names."""
    NUMBER = "_nightmail_number"
    """The same where only a number is taken, also from `tojson`."""
    WHOLE = "_nightmail_whole"
    """The same where only a whole number is taken."""
    TRUTH = "_nightmail_truth"
    """The same where only true or false is taken."""
    TOKENS = "_nightmail_tokens"
    """The input of an embedding: text, or a list of token ids."""
    EMBEDDED = "_nightmail_embedded"
    """The same, and not empty."""
    NO_TOKENS = "_nightmail_no_tokens"
    """The same where only text is taken."""
    NOT_EMPTY = "_nightmail_not_empty"
    """Text of at least one character."""
    NOT_BLANK = "_nightmail_not_blank"
    """Text that says something."""
    URL = "_nightmail_url"
    """The address of a picture, or the picture in a data URL."""
    HTTPS_URL = "_nightmail_https_url"
    """The address of a picture where no other scheme is taken."""
    MEDIA_URL = "_nightmail_media_url"
    """The address of a video or document, or itself in a data URL."""
    BASE64 = "_nightmail_base64"
    """The bytes of a picture, a sound or a document."""


TYPED: Final = (SentAs.TYPED, SentAs.NUMBER, SentAs.WHOLE, SentAs.TRUTH)
TYPED_FILTERS: Final = ("float", "int", "bool", "tojson")
_ADDRESS = re.compile(r"https?://[^/\s]", re.IGNORECASE)
_DATA_URL = re.compile(r"data:(?:(?P<kind>[\w.+-]+)/[\w.+-]+)?(?:;[\w.-]+=[\w.-]+)*;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_LOOKED_AT = 1_000  # characters of base64: a line break in it comes sooner
_TOKEN_IDS = re.compile(r"\s*\[\s*\d+\s*(?:,\s*\d+\s*)+\]\s*")
# A column of truth values with nulls in it is one of 1.0 and 0.0 after some tools.
_TRUTH = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


class Whole(NamedTuple):
    """A template that is one expression, and the blanks around it."""

    before: str
    expression: nodes.Expr
    after: str


def whole_expression(tree: nodes.Template) -> Whole | None:
    """The one expression that the template is; None when there is anything but blanks beside it."""
    match tree.body:
        case [nodes.Output(nodes=parts)]:
            pass
        case _:
            return None
    texts = [part.data if isinstance(part, nodes.TemplateData) else None for part in parts]
    if texts.count(None) != 1 or any(text and not text.isspace() for text in texts):
        return None
    place = texts.index(None)
    before, after = ("".join(filter(None, some)) for some in (texts[:place], texts[place:]))
    return Whole(before, parts[place], after)


def typed_filter(text: str) -> str | None:
    """The filter of `TYPED_FILTERS` that a template ends with, being one expression: its value has that type."""
    try:
        whole = whole_expression(Environment().parse(text))  # noqa: S701 - parsed, never rendered
    except (TemplateSyntaxError, RecursionError):  # said where the template is compiled
        return None
    name = whole.expression.name if whole and isinstance(whole.expression, nodes.Filter) else None
    return name if name in TYPED_FILTERS else None


def to_typed(value: Any, kind: str, column: str = "") -> str:
    """JSON of a value that is a number (`float`, `int`), a truth value (`bool`) or anything (`tojson`).

    `column` is where it comes from, for the message of the ValueError that other values raise.
    """
    if kind == "tojson":
        return values.to_json(value)
    shown = str(values.to_text(value)).strip()
    try:
        return json.dumps(_TRUTH[shown.lower()] if kind == "bool" else _exact_number(shown, kind))
    except (KeyError, ValueError, OverflowError):
        raise no_number(shown, kind, column) from None


def _only(types: type | UnionType, words: str, filter_: str) -> Callable[[Any, str, str], str]:
    """`to_typed` that takes what `tojson` gives only if it has one of the types, or is null."""

    def to_due(value: Any, kind: str, column: str = "") -> str:
        is_truth = isinstance(value, bool)
        fits = value is None or (is_truth if filter_ == "bool" else isinstance(value, types) and not is_truth)
        if kind == "tojson" and not fits:
            shown = str(values.to_text(value))[:60]
            where = f"column {column!r}: " if column else ""
            raise values.NotSendable(
                f"{where}{shown!r} is not {words}; write {{{{ {column or 'column'} | {filter_} }}}} to read it as one"
            )
        return to_typed(value, kind, column)

    return to_due


def _exact_number(shown: str, kind: str) -> float | int:
    if kind == "int":
        return int(shown) if re.fullmatch(r"[+-]?\d+", shown) else _whole(float(shown))
    number = float(shown)
    if not math.isfinite(number):
        raise ValueError
    return number


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError
    return int(number)


def to_tokens(value: Any, before: str, after: str) -> str:
    """JSON of a text and the blanks around it, or of a list of token ids."""
    if not isinstance(value, list | tuple):
        return values.to_json(f"{before}{values.to_text(value)}{after}")
    if value and all(type(each) is int and each >= 0 for each in value):
        return values.to_json(value)
    raise values.NotSendable(
        "a list here must hold token ids, whole numbers; of several texts a row, take one or join them"
    )


def to_embedded(value: Any, before: str, after: str) -> str:
    """The same of what is embedded: not empty, and no token ids that have become a text on their way."""
    if not isinstance(value, list | tuple):
        _check_embedded(f"{before}{values.to_text(value)}{after}")
    return to_tokens(value, before, after)


def to_text_only(value: Any, before: str, after: str) -> str:
    """The same where token ids are not taken: they would be read as a text."""
    if isinstance(value, list | tuple) and value and all(type(each) is int for each in value):
        raise values.NotSendable("token ids are not taken here; give the text itself")
    text = f"{before}{values.to_text(value)}{after}"
    _check_embedded(text)
    return values.to_json(text)


def _check_embedded(text: str) -> None:
    if not text:
        raise values.NotSendable("the text is empty in this row, and there is nothing to embed")
    if _TOKEN_IDS.fullmatch(text):
        raise values.NotSendable(
            f"{text[:40]!r} is a text that looks like token ids; those need a column of lists, as JSON Lines and Parquet have"
        )


def to_not_empty(text: str) -> str:
    """JSON of a text that is not empty."""
    _check_embedded(text)
    return values.to_json(text)


def to_not_blank(text: str) -> str:
    """JSON of a text that says something."""
    if not text or text.isspace():
        raise values.NotSendable("the text is empty in this row, which the provider does not take")
    return values.to_json(text)


def to_url(text: str) -> str:
    """JSON of a picture's address."""
    if problem := refuse_url(text):
        raise values.NotSendable(problem)
    return values.to_json(text)


def to_https_url(text: str) -> str:
    """JSON of a picture's address at https."""
    if not text.lower().startswith("https://"):
        wanted = "https://... (for bytes: data:image/png;base64,{{ column | b64encode }})"
        raise values.NotSendable(_no_media(text, "picture", wanted))
    return values.to_json(text)


def to_media_url(text: str) -> str:
    """JSON of the address of a video or document."""
    if problem := refuse_media_url(text):
        raise values.NotSendable(problem)
    return values.to_json(text)


def to_base64(text: str) -> str:
    """JSON of base64 that is not empty."""
    if not text.strip():
        raise values.NotSendable("there are no bytes in this row")
    if not _BASE64.fullmatch(text[:_LOOKED_AT]):
        raise values.NotSendable(
            f"{text[:60]!r} is no base64; write {{{{ column | b64encode }}}} for a column of bytes"
        )
    return values.to_json(text)


def refuse_url(text: str) -> str | None:
    """Why a text is no picture's address; None when it is one."""
    return _refusal(text, "picture", "https://... or data:image/png;base64,...", "image")


def refuse_media_url(text: str) -> str | None:
    """Why a text is no address of a video or document; None when it is one."""
    return _refusal(text, "file", "https://... or data:application/pdf;base64,...", None)


def _refusal(text: str, what: str, wanted: str, kind: str | None) -> str | None:
    if _ADDRESS.match(text):
        return None
    found = _DATA_URL.match(text)
    if found is None or (kind is not None and (found["kind"] or "").lower() != kind):
        return _no_media(text, what, wanted)
    if found.end() == len(text):
        return f"there is no {what} in this row; it needs {wanted}"
    looked_at = text[found.end() : found.end() + _LOOKED_AT]
    if (len(text) - found.end()) % 4 or not _BASE64.fullmatch(looked_at):
        return f"{text[:60]!r} holds no base64; write data:...;base64,{{{{ column | b64encode }}}} for a column of bytes"
    return None


def _no_media(text: str, what: str, wanted: str) -> str:
    if not text.strip():
        return f"there is no {what} in this row; it needs {wanted}"
    is_path = not text.lower().startswith("data:") and ("://" not in text or text.startswith("file:"))
    kind = "a file of this machine" if is_path else f"no address of a {what}"
    files = "; files are sent by {type: image, column: ...}" if is_path else ""
    return f"{text[:80]!r} is {kind}, which the provider cannot read; it needs {wanted}{files}"


FILTERS: Final[dict[str, Callable[..., str]]] = {
    SentAs.TYPED: to_typed,
    SentAs.NUMBER: _only(int | float | Decimal, "a number", "float"),
    SentAs.WHOLE: _only(int, "a whole number", "int"),
    SentAs.TRUTH: _only(bool, "true or false", "bool"),
    SentAs.TOKENS: to_tokens,
    SentAs.EMBEDDED: to_embedded,
    SentAs.NO_TOKENS: to_text_only,
    SentAs.NOT_EMPTY: to_not_empty,
    SentAs.NOT_BLANK: to_not_blank,
    SentAs.MEDIA_URL: to_media_url,
    SentAs.URL: to_url,
    SentAs.HTTPS_URL: to_https_url,
    SentAs.BASE64: to_base64,
}
"""The filters by name; those that take one argument are given the rendered text."""
