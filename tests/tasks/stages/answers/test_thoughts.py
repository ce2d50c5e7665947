"""Thoughts before an answer."""

from __future__ import annotations

import pytest

from tasks.stages.answers.thoughts import (
    ENDS_OF_NOTHING,
    STARTS_OF_NOTHING,
    may_say_nothing,
    thoughts_of,
    without_thoughts,
)


@pytest.mark.parametrize(
    ("text", "said", "thought"),
    [
        ("x", "x", False),
        (" x\n", "x", False),
        ("\ufeff\u200b x", "x", False),
        ("<think>hm</think>x", "x", True),
        ("\n<THINK>hm</THINK>\n\nx", "x", True),
        ("<thinking>hm</thinking>x", "x", True),
        ("<thought>a</thought> <reasoning>b</reasoning> x", "x", True),
        ("[THINK]hm[/THINK]x", "x", True),
        ("<think>a</think>x<think>b</think>", "x<think>b</think>", True),
        ("<think>hm", "", True),
        ("<think></think>", "", True),
        ("hm</think>", "", True),
        ("\u3000\u2060", "", False),
        ("<thinker>x</thinker>", "<thinker>x</thinker>", False),
        ("a </think> b", "a </think> b", False),
    ],
)
def test_what_is_said_after_them(text: str, said: str, thought: bool) -> None:
    assert without_thoughts(text) == (said, thought)
    assert said or text[0] in STARTS_OF_NOTHING or text[-1] in ENDS_OF_NOTHING
    assert said or may_say_nothing(text)


@pytest.mark.parametrize(
    ("text", "thoughts"),
    [
        ("x", None),
        ("<think> hm\n</think>x", "hm"),
        ("<thought>a</thought> [THINK]b[/THINK] x", "a\n\nb"),
        ("<think>hm", "hm"),
        ("<think></think>x", None),
        ("hm\n</think>\n\nx", "hm"),
        ("hm</think>", "hm"),
        ("a </think> b", None),
        ("a <think>b\n</think>\n", None),
    ],
)
def test_the_thoughts_themselves(text: str, thoughts: str | None) -> None:
    assert thoughts_of(text) == thoughts


@pytest.mark.parametrize("text", ["x", '{"x":1}', "1 < 2", "「日本語」"])
def test_ordinary_texts_need_no_second_look(text: str) -> None:
    assert not may_say_nothing(text)
    assert not may_say_nothing(f"{text}. \n"), "nor with blanks after them"
    assert text[0] not in STARTS_OF_NOTHING
    assert text[-1] not in ENDS_OF_NOTHING
