"""Damage to a good reply, for tests: what comes with status 200 and is not what was asked for.

web_page        a proxy's page
other_batch     the object of another batch or file
cut_at_line     the body ends behind its last line but one, without a content-length
cut_in_line     the body ends inside its last line, without a content-length
wrong_length    the same, with a content-length that is right for what is sent
cut_gzip        the body packed, and its end missing, without a content-length
"""

from __future__ import annotations

import gzip
from typing import Final

import orjson

DAMAGES: Final = ("web_page", "other_batch", "cut_at_line", "cut_in_line", "wrong_length", "cut_gzip")
_WEB_PAGE: Final = b"<html>\n<h1>Sign in to the guest network</h1>\n</html>\n"


def damaged(body: bytes, action: str) -> bytes:
    """What is sent in place of a reply's body. ValueError for an action that is none of `DAMAGES`."""
    match action:
        case "web_page":
            return _WEB_PAGE
        case "other_batch":
            found = orjson.loads(body)
            return orjson.dumps({**found, **{name: "another" for name in ("id", "name") if name in found}})
        case "cut_at_line":
            return body[: body.rstrip(b"\n").rfind(b"\n") + 1]
        case "cut_in_line" | "wrong_length":
            return body[:-20]
        case "cut_gzip":
            return gzip.compress(body)[:-12]
    raise ValueError(f"{action}: must be one of {', '.join(DAMAGES)}")
