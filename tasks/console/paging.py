"""Which part of a list a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from tasks.console.forms import read_number

SIZE = 50


@dataclass(frozen=True)
class Paging:
    """Page `number` (from 1) of a list of `total` entries; `query` is what it was searched by."""

    number: int
    total: int
    query: Mapping[str, str]

    @classmethod
    def of(cls, given: str, total: int, query: Mapping[str, str]) -> Paging:
        """The page that was asked for; the first or last one instead of one that is not there."""
        number = read_number(given) or 1
        last = max(1, -(-total // SIZE))
        return cls(min(max(number, 1), last), total, {key: text for key, text in query.items() if text})

    @property
    def offset(self) -> int:
        """Entries before it."""
        return (self.number - 1) * SIZE

    @property
    def summary(self) -> str:
        """`51–100 of 2,000`; `none` for an empty list."""
        if not self.total:
            return "none"
        last = min(self.offset + SIZE, self.total)
        return f"{self.offset + 1:,}–{last:,} of {self.total:,}"

    @property
    def previous(self) -> str | None:
        """The query of the page before; None on the first."""
        return self._at(self.number - 1) if self.number > 1 else None

    @property
    def next(self) -> str | None:
        """The query of the page after; None on the last."""
        return self._at(self.number + 1) if self.offset + SIZE < self.total else None

    def _at(self, number: int) -> str:
        return "?" + urlencode({**self.query, "page": str(number)})
