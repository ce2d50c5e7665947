"""Replies that a test writes out, for the rows that get them: what a fake answers instead of an answer of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

PlayedReply = dict[str, Any]
"""`{"raw": line}` is the whole result line as it stands; else the vendor's own fields of one: see each fake."""


class Replies:
    """custom_id to one reply, or to several: one for each batch that asks for the row, the last of them for ever after.

    `*` is for the rows that have none of their own.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Sequence[PlayedReply]] = {}
        self._asked: Counter[str] = Counter()

    def play(self, replies: dict[str, PlayedReply | list[PlayedReply]]) -> None:
        """Answer these rows so from now on."""
        self._asked.clear()
        self._by_id = {
            custom_id: reply if isinstance(reply, list) else [reply] for custom_id, reply in replies.items()
        }

    def next(self, custom_id: str) -> PlayedReply | None:
        """The reply to a row whose turn it is; None for the fake's own."""
        replies = self._by_id.get(custom_id, self._by_id.get("*"))
        if replies is None:
            return None
        turn = self._asked[custom_id]
        self._asked[custom_id] += 1
        return replies[min(turn, len(replies) - 1)]
