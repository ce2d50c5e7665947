"""The rows of a batch's input that still want an answer, in the order they are answered."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import msgspec

from tasks.local_batch.protocol.lines import Row

_ROWS: Final = 512
_BYTES: Final = 4 << 20

_decode = msgspec.json.Decoder(Row).decode


def blocks_of(path: Path, done: Collection[str], seed: str, budget: int | None = None) -> Iterator[list[Row]]:
    """Rows not in `done`, at most `budget` of them, shuffled within blocks: a batch's output is never in order.

    The order depends on `seed` alone, so a restarted batch goes on with the same one.
    """
    dice = random.Random(seed)  # noqa: S311 - an order, no secret
    for block in _blocks(path):
        dice.shuffle(block)
        rows = [row for row in block if row.custom_id not in done]
        if budget is not None:
            rows = rows[:budget]
            budget -= len(rows)
        if rows:
            yield rows
        if budget == 0:
            return


def _blocks(path: Path) -> Iterator[list[Row]]:
    block: list[Row] = []
    size = 0
    with path.open("rb") as stream:
        for line in stream:
            block.append(_decode(line))
            size += len(line)
            if len(block) == _ROWS or size > _BYTES:
                yield block
                block, size = [], 0
    if block:
        yield block
