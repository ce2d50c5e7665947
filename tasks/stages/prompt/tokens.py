"""Estimate prompt tokens from bytes: for limits and plans, never for bills.

The weights are tokens a character by its length in UTF-8, close to o200k_base on ordinary sentences (measured: English
glosses 0.21, French 0.27, Russian 0.20, Korean 0.54, Japanese 0.68, Chinese 0.71, emoji 1.4) and rounded up, since a
queue that takes too much fails and one that takes too little waits. On other texts they are far off (JSON with escaped
characters: half), so `tasks.stages.prompt.token_sample` corrects them by exact counts of some rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

# Hundredths of a token of a character, by its length in UTF-8.
_ASCII, _TWO_BYTES, _THREE_BYTES, _FOUR_BYTES = 25, 50, 80, 200

_FIRST_LEAD = -64  # 0xc0 as a signed number
_LEADS_OF_FOUR = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")

CLASS_UNITS: Final = 100
"""Class units in a token. They add up exactly: those of two texts are those of the texts joined."""

PLAIN: Final = 1_000
"""The factor that leaves class units as they are."""

UNITS: Final = CLASS_UNITS * PLAIN
"""Units in a token: class units times a factor. Whole numbers, so that a sum is the same however it is made."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How the class units of a micro-batch's request lines become units of their prompts.

    `line_units` is what all requests have in common, `blank` the class units of their lines without the rows' texts,
    `factor` the units a class unit of those texts is worth, `extra` what a line has besides, by its place.
    """

    line_units: int = 0
    blank: int = 0
    factor: int = PLAIN
    extra: Mapping[int, int] = field(default_factory=dict)

    def units(self, payload: bytes, rows: Sequence[int]) -> int:
        """The units of `payload`: the lines at these places of the micro-batch, joined."""
        own = class_units(payload) - len(rows) * self.blank
        extra = sum(self.extra.get(row, 0) for row in rows) if self.extra else 0
        return own * self.factor + len(rows) * self.line_units + extra


def class_units(payload: bytes) -> int:
    """The estimate of `payload` (UTF-8) in hundredths of a token."""
    if payload.isascii():
        return len(payload) * _ASCII
    # Three counts tell the characters by length: those of one byte, the bytes that continue one (10xxxxxx), and those of four.
    values = np.frombuffer(payload, np.int8)
    ascii_ = int(np.count_nonzero(values >= 0))
    continuing = int(np.count_nonzero(values < _FIRST_LEAD))
    has_four = any(lead in payload for lead in _LEADS_OF_FOUR)  # a single byte is found in no time
    four = int(np.count_nonzero(values.view(np.uint8) >= _LEADS_OF_FOUR[0][0])) if has_four else 0
    longer = len(payload) - ascii_ - continuing  # two_bytes + three_bytes + four = longer
    three = continuing - longer - 2 * four  # two_bytes + 2 * three_bytes + 3 * four = continuing
    two = longer - three - four
    return ascii_ * _ASCII + two * _TWO_BYTES + three * _THREE_BYTES + four * _FOUR_BYTES


def to_tokens(units: int) -> int:
    """Units as tokens, rounded up."""
    return -(-units // UNITS)
