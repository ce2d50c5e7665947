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
    # A character's lead byte tells its length: 0xxxxxxx, 110xxxxx, 1110xxxx, 11110xxx.
    values = np.frombuffer(payload, np.uint8)
    ascii_, two_or_more = np.count_nonzero(values < 0x80), np.count_nonzero(values >= 0xC0)
    three_or_more, four = np.count_nonzero(values >= 0xE0), np.count_nonzero(values >= 0xF0)
    return int(
        ascii_ * _ASCII
        + (two_or_more - three_or_more) * _TWO_BYTES
        + (three_or_more - four) * _THREE_BYTES
        + four * _FOUR_BYTES
    )


def to_tokens(units: int) -> int:
    """Units as tokens, rounded up."""
    return -(-units // UNITS)
