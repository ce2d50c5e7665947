"""Make texts that others wrote (services, drivers, data) fit to be shown and kept: no secrets, nothing that moves a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

_SPACES: Final = re.compile(r"[\t\n\v\f\r]+")
# C0 and C1 controls, line and paragraph separators, directions that reorder what is read, and halves of characters.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# abfs://container@account/ and sftp://user@host/ hold no secret; http://token@host/ does.
_USER_INFO: Final = re.compile(r"(https?://|://(?=[^\s/?#\"'<>@]*:))[^\s/?#\"'<>]*@")
_SIGNATURE: Final = re.compile(
    r"(?i)([?&;](?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|signature|sig"
    r"|password|passwd|secret|token|access_token|key|api[-_]?key)=)[^&\s\"'<>]+"
)
_SHORTEST: Final = 6  # a shorter key is none: EMPTY, none
_HEAD: Final = 12  # a key that a message cuts short is known by so many characters
# What servers that ask for no key are given: an answer may well hold these words.
_PLACEHOLDER: Final = re.compile(r"(?!sk-)[a-z]+([-_][a-z]+)*")
MASK: Final = "[key]"


def printable(text: str) -> str:
    """The text on one line: spaces for line breaks, escapes for other characters that a terminal acts upon."""
    return _UNPRINTABLE.sub(_escaped, _SPACES.sub(" ", text))


def without_url_secrets(text: str) -> str:
    """The text with no user name, password or signature in its URLs."""
    return _SIGNATURE.sub(r"\1...", _USER_INFO.sub(r"\1", text)) if "://" in text or "=" in text else text


def fit_to_show(text: str) -> str:
    """The text as it may be shown and kept: on one line, without the secrets in its URLs."""
    return printable(without_url_secrets(text))


def secret_in_url(url: str) -> str | None:
    """What must not stand in a URL of a job file or a setting: a password or a signature; None where there is neither."""
    if "://" not in url or without_url_secrets(url) == url:
        return None
    return "a signature or key in its query" if _USER_INFO.search(url) is None else "a user name or password"


class Redactor:
    """Strikes known secrets out of texts and files, as they are and as services echo them (in URLs, in JSON)."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        known = {secret.strip() for secret in secrets if secret}
        forms = {form for secret in known if len(secret) >= _SHORTEST for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._in_files = [
            form.encode(errors="replace")
            for form in self._forms
            if len(form) >= 8 and not _PLACEHOLDER.fullmatch(form)
        ]

    def text(self, text: str) -> str:
        """A message without the secrets, also where one was cut short; on one line."""
        for form in self._forms:
            head = form[:_HEAD]
            start = text.find(head)
            while start >= 0:
                end = start + len(head)
                while text[end : end + 1] == form[end - start : end - start + 1] != "":
                    end += 1
                text = text[:start] + MASK + text[end:]
                start = text.find(head, start + len(MASK))
        return fit_to_show(text)

    def file_bytes(self, data: bytes) -> bytes:
        """A file's bytes with the secrets overwritten: sizes and lines stay as they are."""
        for form in self._in_files:
            if form in data:
                data = data.replace(form, b"*" * len(form))
        return data

    def begun(self, data: bytes) -> int:
        """How many bytes at the end may be the beginning of a secret."""
        return max((_overlap(data, form) for form in self._in_files), default=0)


def _forms(secret: str) -> set[str]:
    in_json = json.dumps(secret)[1:-1]
    return {secret, quote(secret, safe=""), in_json, in_json.replace("/", "\\/")}


def _overlap(data: bytes, form: bytes) -> int:
    """The longest end of `data` that is a beginning of `form`, which `data` does not hold whole."""
    most = min(len(data), len(form) - 1)
    return next((length for length in range(most, 0, -1) if data.endswith(form[:length])), 0)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
