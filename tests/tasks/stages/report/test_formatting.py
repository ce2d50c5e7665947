"""Texts of others in Markdown: shown as they are."""

from __future__ import annotations

import pytest

from tasks.stages.report.formatting import markdown_code, markdown_text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("[sign in](http://example.com)", r"\[sign in\](http://example.com)"),
        ("![x](http://example.com/p.png)", r"!\[x\](http://example.com/p.png)"),
        ("<img src=x> a|b `c`", r"&lt;img src=x> a\|b \`c\`"),
        ("back\\|slash", r"back\\\|slash"),
        ("two\nlines\x1b[0m", r"two lines\\x1b\[0m"),
        ("batch_failed: 3 * 4", "batch_failed: 3 * 4"),
    ],
)
def test_no_text_is_a_link_a_picture_html_or_another_cell(text: str, written: str) -> None:
    assert markdown_text(text) == written


def test_code_ends_where_the_text_does() -> None:
    assert markdown_code("out/`x`|y\n") == "`out/'x'&#124;y `"
