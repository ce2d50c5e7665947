"""What of a request line a model reads: filled by each line format, counted here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson

from tasks.stages.prompt.tokenizer import Encoding, count_repeated, count_tokens

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(slots=True)
class PromptContent:
    """The parts of one request that become prompt tokens.

    `tokens` are known without a tokenizer: the format around messages, and token ids. `specifications` are schema and
    tools as JSON; the provider renders them in its own way, which nobody publishes. `media` is the number of pictures and
    the like, `media_bytes` their size in the line, `media_tokens` what they are by their vendor's rule, `uncounted` the
    kinds of those for which there is none.
    """

    texts: list[str] = field(default_factory=list)
    tokens: int = 0
    specifications: list[str] = field(default_factory=list)
    media: int = 0
    media_bytes: int = 0
    media_tokens: int = 0
    uncounted: list[str] = field(default_factory=list)

    def specify(self, value: Any) -> None:
        """Add a schema or a tool, if there is one."""
        if value:
            self.specifications.append(orjson.dumps(value).decode())

    def show(self, data: Any, tokens: int | None, kind: str = "pictures") -> None:
        """Add a picture or other media: its bytes or its address, and its tokens where they are known."""
        self.media += 1
        self.media_bytes += len(data.encode()) if isinstance(data, str) else 0
        if tokens is None:
            self.uncounted.append(kind)
        else:
            self.media_tokens += tokens

    def specified_tokens(self, encoding: Encoding) -> int:
        """Tokens of schema and tools as they stand in the line."""
        return sum(count_repeated(text, encoding) for text in self.specifications)

    def count(self, encoding: Encoding, known: Mapping[str, int] = _NOTHING) -> int:
        """All tokens but those of media; `known` are texts that were counted before."""
        texts = sum(known.get(text) or count_tokens(text, encoding) for text in self.texts)
        return texts + self.tokens + self.specified_tokens(encoding)
