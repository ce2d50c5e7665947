"""Exact counts of some request lines, by which the class estimate of all others is corrected.

Counting every line takes three times as long as everything else that is done to it. So the texts of a few lines in every
micro-batch are counted, evenly spread; what all lines have in common (system, schema, tools) is counted once. Micro-batches
of few rows, as long rows make them, are taken together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import orjson

from tasks.stages.prompt.content import PromptContent
from tasks.stages.prompt.render import Skip
from tasks.stages.prompt.shard import Lines
from tasks.stages.prompt.tokenizer import Encoding, count_tokens
from tasks.stages.prompt.tokens import CLASS_UNITS, UNITS, Weights, class_units

FIRST_ROWS: Final = 128
"""Of each micro-batch until `ENOUGH` are counted: so that the estimate of a small dataset is off by 1 %, not by 4."""

ENOUGH: Final = 512
ROWS: Final = 8
"""Of every further one: 0.4 ms, where rendering 1,024 lines of 920 bytes takes 1.8 ms."""

STRATUM_ROWS: Final = 1024
STRATUM_BYTES: Final = 4 << 20
"""Of the micro-batches for which some rows of the first one stand."""

MOST_BYTES: Final = 256 << 10
"""Of the texts counted for them: two megabytes take a second."""

_FEWEST: Final = 2  # rows whose spread can be told
_CONFIDENCE: Final = 1.96  # standard errors to either side that hold 95 of 100


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What was counted of how many requests, and the tokens to either side of their sum that 95 of 100 samples keep to.

    `specified_tokens` are those of schema and tools, as JSON, in each request; `uncounted` the media by kind whose tokens
    nobody can tell.
    """

    encoding: Encoding
    counted: int
    requests: int
    error_tokens: float
    specified_tokens: int
    uncounted: dict[str, int]

    def plus(self, other: SampleSummary) -> SampleSummary:
        """Both together, of the same prompt."""
        return replace(
            self,
            counted=self.counted + other.counted,
            requests=self.requests + other.requests,
            error_tokens=math.hypot(self.error_tokens, other.error_tokens),
            uncounted=dict(Counter(self.uncounted) + Counter(other.uncounted)),
        )


@dataclass(slots=True)
class _Stratum:
    """Micro-batches weighed by the rows that were counted of the first of them; `spread` is the variance of those."""

    factor: int = 0
    counted: int = 0
    spread: float = 0.0
    requests: int = 0
    size: int = 0

    def takes(self, requests: int, size: int) -> bool:
        """Add a micro-batch, if there is room and enough was counted."""
        together = self.requests + requests, self.size + size
        if self.counted < _FEWEST or together[0] > STRATUM_ROWS or together[1] > STRATUM_BYTES:
            return False
        self.requests, self.size = together
        return True

    @property
    def variance(self) -> float:
        """Of the sum of the requests' tokens."""
        if self.counted == self.requests:
            return 0.0
        return self.requests**2 * (1 - self.counted / self.requests) * self.spread / self.counted


class TokenSample:
    """Weighs micro-batch after micro-batch of request lines.

    `content_of` tells what of a line's JSON the model reads. Lines with media in them are all parsed: no byte of a picture
    is a token. So are those of which the blank line cannot tell whether they have any (`may_hold_media`).
    """

    def __init__(
        self,
        blank_line: bytes,
        content_of: Callable[[dict[str, Any]], PromptContent],
        encoding: Encoding,
        *,
        may_hold_media: bool = False,
    ) -> None:
        self._content_of, self._encoding = content_of, encoding
        blank = content_of(orjson.loads(blank_line))
        self._blank_units, self._blank_media = class_units(blank_line), _media_units(blank)
        self._has_media = may_hold_media or blank.media > 0
        self._known = {text: count_tokens(text, encoding) for text in blank.texts if text}
        self._common = blank.count(encoding, self._known)
        self._specified = blank.specified_tokens(encoding)
        self._counted = self._requests = 0
        self._variance = 0.0  # of the strata before this one
        self._stratum = _Stratum()
        self._uncounted: Counter[str] = Counter()

    def weights(self, lines: Lines) -> Weights:
        """The weights of a micro-batch, some of whose lines are counted for it."""
        posted, size = _posted(lines)
        if not posted:
            return Weights()
        contents = {row: self._parsed(lines[row]) for row in posted} if self._has_media else {}
        size -= sum(content.media_bytes for content in contents.values())
        self._requests += len(posted)
        if not self._stratum.takes(len(posted), size):
            wanted = self._wanted(size, len(posted))
            chosen = (
                posted
                if len(posted) <= wanted
                else [posted[i * len(posted) // wanted] for i in range(wanted)]
            )
            pairs = [self._own(lines[row], contents.get(row) or self._parsed(lines[row])) for row in chosen]
            self._begin_stratum(pairs, len(posted), size)
        factor = self._stratum.factor
        extra = {row: self._extra(content, factor) for row, content in contents.items()}
        return Weights(self._common * UNITS, self._blank_units, factor, extra)

    def summary(self) -> SampleSummary:
        """Of all micro-batches so far."""
        return SampleSummary(
            self._encoding,
            self._counted,
            self._requests,
            _CONFIDENCE * math.sqrt(self._variance + self._stratum.variance),
            self._specified,
            dict(self._uncounted),
        )

    def _wanted(self, size: int, requests: int) -> int:
        """How many of `requests` lines with `size` bytes of text are counted."""
        rows = FIRST_ROWS if self._counted < ENOUGH else ROWS
        return min(rows, max(_FEWEST, requests * MOST_BYTES // max(1, size)))

    def _parsed(self, line: bytes | Skip | None) -> PromptContent:
        return self._content_of(orjson.loads(cast("bytes", line)))

    def _own(self, line: bytes | Skip | None, content: PromptContent) -> tuple[int, int]:
        """(tokens, class units) of what is the line's own."""
        media = _media_units(content) - self._blank_media
        tokens = content.count(self._encoding, self._known) - self._common
        return tokens, class_units(cast("bytes", line)) - self._blank_units - media

    def _begin_stratum(self, pairs: Sequence[tuple[int, int]], requests: int, size: int) -> None:
        """Units a class unit is worth here, by a ratio of sums; and how far off that may be.

        Nothing is taken over from the rows before: datasets are often sorted by what they hold.
        """
        tokens, units = (sum(each) for each in zip(*pairs, strict=True))
        ratio = tokens / units if units > 0 else 1 / CLASS_UNITS
        self._counted += len(pairs)
        self._variance += self._stratum.variance
        spread = sum((own - ratio * weight) ** 2 for own, weight in pairs) / max(1, len(pairs) - 1)
        self._stratum = _Stratum(round(ratio * UNITS), len(pairs), spread, requests, size)

    def _extra(self, content: PromptContent, factor: int) -> int:
        """Units of a line's media by their vendor's rule, in place of those that their bytes were given."""
        self._uncounted.update(content.uncounted)
        return content.media_tokens * UNITS - (_media_units(content) - self._blank_media) * factor


def _posted(lines: Lines) -> tuple[Sequence[int], int]:
    """The places of the lines that are posted, and how many bytes those are."""
    try:
        return range(len(lines)), sum(map(len, cast("Sequence[bytes]", lines)))
    except TypeError:  # some are not
        posted = [row for row, line in enumerate(lines) if isinstance(line, bytes)]
        return posted, sum(len(cast("bytes", lines[row])) for row in posted)


def _media_units(content: PromptContent) -> int:
    return content.media_bytes * class_units(b" ")
