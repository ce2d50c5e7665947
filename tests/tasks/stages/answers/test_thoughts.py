"""Thoughts before an answer."""

from __future__ import annotations

import pytest

from tasks.stages.answers.thoughts import ENDS_OF_NOTHING, STARTS_OF_NOTHING, without_thoughts


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


@pytest.mark.parametrize("text", ["x", '{"x":1}', "1 < 2", "「日本語」"])
def test_ordinary_texts_need_no_second_look(text: str) -> None:
    assert text[0] not in STARTS_OF_NOTHING
    assert text[-1] not in ENDS_OF_NOTHING
