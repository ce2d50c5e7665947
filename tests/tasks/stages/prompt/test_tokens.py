from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.prompt import tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("four", 1),
        ("fours", 2),
        ("あ" * 10, 8),
        ("é" * 10, 5),
        ("😀" * 10, 20),
        ("abcdあ", 2),
    ],
)
def test_weighs_characters_by_class_and_rounds_up(text: str, expected: int) -> None:
    assert -(-tokens.class_units(text.encode()) // tokens.CLASS_UNITS) == expected


@given(st.text(), st.text())
def test_units_of_joined_texts_are_the_sum(one: str, other: str) -> None:
    a, b = one.encode(), other.encode()
    assert tokens.class_units(a + b) == tokens.class_units(a) + tokens.class_units(b)


@given(st.text())
def test_units_count_every_character_once(text: str) -> None:
    weights = {1: 25, 2: 50, 3: 80, 4: 200}
    assert tokens.class_units(text.encode()) == sum(weights[len(char.encode())] for char in text)


@pytest.mark.parametrize(
    ("text", "real"),
    [
        # Counted with o200k_base.
        ("RESTとGraphQLの主な違いを3つ挙げてください。", 18),
        ("that which is perceived or known or inferred to have its own distinct existence", 14),
        ("人工智能是计算机科学的一个分支，它企图了解智能的实质", 18),
    ],
)
def test_is_near_the_real_count_of_ordinary_sentences(text: str, real: int) -> None:
    assert 0.8 * real <= tokens.class_units(text.encode()) / tokens.CLASS_UNITS <= 1.7 * real


def test_weights_replace_what_lines_have_in_common_and_count_media_by_their_rule() -> None:
    weights = tokens.Weights(line_units=7_000, blank=100, factor=2_000, extra={1: 5_000})
    assert weights.units(b"x" * 8, [0, 1]) == 0 * 2_000 + 2 * 7_000 + 5_000
    assert weights.units(b"x" * 5, [0]) == 25 * 2_000 + 7_000
