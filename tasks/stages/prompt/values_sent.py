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
    NO_TOKENS = "_nightmail_no_tokens"
    """The same where only text is taken."""
    URL = "_nightmail_url"
    """The address of a picture, or the picture in a data URL."""
    HTTPS_URL = "_nightmail_https_url"
    """The address of a picture where no other scheme is taken."""
    BASE64 = "_nightmail_base64"
    """The bytes of a picture, a sound or a document."""


TYPED: Final = (SentAs.TYPED, SentAs.NUMBER, SentAs.WHOLE, SentAs.TRUTH)
TYPED_FILTERS: Final = ("float", "int", "bool", "tojson")
_PICTURE = re.compile(
    r"https?://[^/\s]|data:image/[\w.+-]+;base64,[A-Za-z0-9+/_=-]|gs://[^/\s]", re.IGNORECASE
)
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


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
            raise ValueError(
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
    """JSON of an embedding's input: a text and the blanks around it, or a list of token ids."""
    if not isinstance(value, list | tuple):
        return values.to_json(f"{before}{values.to_text(value)}{after}")
    if value and all(type(each) is int for each in value):
        return values.to_json(value)
    raise ValueError(
        "a list here must hold token ids, whole numbers; of several texts a row, take one or join them"
    )


def to_text_only(value: Any, before: str, after: str) -> str:
    """The same where token ids are not taken: they would be read as a text."""
    if isinstance(value, list | tuple) and value and all(type(each) is int for each in value):
        raise ValueError("token ids are not taken here; give the text itself")
    return values.to_json(f"{before}{values.to_text(value)}{after}")


def to_url(text: str) -> str:
    """JSON of a picture's address."""
    if not _PICTURE.match(text):
        raise ValueError(_no_picture(text, "https://... or data:image/png;base64,..."))
    return values.to_json(text)


def to_https_url(text: str) -> str:
    """JSON of a picture's address at https."""
    if not text.lower().startswith("https://"):
        raise ValueError(
            _no_picture(text, "https://... (for bytes: data:image/png;base64,{{ column | b64encode }})")
        )
    return values.to_json(text)


def to_base64(text: str) -> str:
    """JSON of base64 that is not empty."""
    if not text.strip():
        raise ValueError("there are no bytes in this row")
    return values.to_json(text)


def refuse_url(text: str) -> str | None:
    """Why a text that stands in the job is no picture's address; None when it is one."""
    return None if _PICTURE.match(text) else _no_picture(text, "https://... or data:image/png;base64,...")


def _no_picture(text: str, wanted: str) -> str:
    if not text.strip():
        return f"there is no picture in this row; it needs {wanted}"
    kind = (
        "a file of this machine"
        if "://" not in text or text.startswith("file:")
        else "no address of a picture"
    )
    return f"{text[:80]!r} is {kind}, which the provider cannot read; it needs {wanted}"


FILTERS: Final[dict[str, Callable[..., str]]] = {
    SentAs.TYPED: to_typed,
    SentAs.NUMBER: _only(int | float | Decimal, "a number", "float"),
    SentAs.WHOLE: _only(int, "a whole number", "int"),
    SentAs.TRUTH: _only(bool, "true or false", "bool"),
    SentAs.TOKENS: to_tokens,
    SentAs.NO_TOKENS: to_text_only,
    SentAs.URL: to_url,
    SentAs.HTTPS_URL: to_https_url,
    SentAs.BASE64: to_base64,
}
"""The filters by name; those of addresses and bytes are given the rendered text."""
