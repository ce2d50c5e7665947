"""Texts of others: on one line, with nothing that acts on a terminal, with no secret in a URL."""

from __future__ import annotations

import pytest

from configs.errors import ConfigError, LostReply, NightmailError, TerminalError
from configs.foreign_text import printable, secret_in_url, without_url_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 🙂", "plain é 日本 🙂"),
        ("two\r\nlines\tand", "two lines and"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("half \ud83d of it", "half \\ud83d of it"),
    ],
)
def test_what_moves_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode()


@pytest.mark.parametrize("kind", [ConfigError, LostReply, TerminalError])
def test_every_error_is_one_line_without_escapes_and_passwords(kind: type[NightmailError]) -> None:
    error = kind("column 'a\x1b[31m\nb' at https://user:pass@example.com/x?sig=abc&n=1")
    assert str(error) == "column 'a\\x1b[31m b' at https://example.com/x?sig=...&n=1"


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://user:p@ss@example.com/x", "https://example.com/x"),
        ("http://token@example.com/x", "http://example.com/x"),
        ("postgresql+psycopg://u:p@db/x", "postgresql+psycopg://db/x"),
        ("s3://KEY:SECRET@bucket/x", "s3://bucket/x"),
        ("https://s.example.com/x?X-Amz-Signature=abc", "https://s.example.com/x?X-Amz-Signature=..."),
        ("https://s.example.com/x?se=1&sig=abc&sp=r", "https://s.example.com/x?se=1&sig=...&sp=r"),
    ],
)
def test_a_secret_in_a_url_is_seen_and_left_out(url: str, bare: str) -> None:
    assert without_url_secrets(f"no answer from {url} yet") == f"no answer from {bare} yet"
    assert secret_in_url(url)
    assert not secret_in_url(bare.partition("?")[0])


@pytest.mark.parametrize(
    "url",
    ["abfs://container@account.dfs.core.windows.net/x", "sftp://me@host/x", "s3://bucket/a@b", "out/x?key=1"],
)
def test_an_address_without_a_secret_is_left_alone(url: str) -> None:
    assert without_url_secrets(url) == url or "://" not in url
    assert secret_in_url(url) is None
