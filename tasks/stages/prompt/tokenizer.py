"""Count tokens exactly, as the tokenizer of a model does; its vocabulary is part of the installation, nothing is downloaded."""

from __future__ import annotations

import functools
import re
from typing import Any, Final, NamedTuple


class Encoding(NamedTuple):
    """A vocabulary, and whether it is known to be the model's own; otherwise it stands in for one that is not published."""

    name: str
    is_own: bool


STAND_IN: Final = (0.8, 1.4)
"""Tokens of a model's own tokenizer for one of the tokenizer that stands in for it: at least, at most. Unmeasured: newer
tokenizers of Anthropic's are said to make a third more."""

# First match wins; as tiktoken's `encoding_name_for_model`, and Qwen's and Llama's model cards.
_ENCODINGS: Final = (
    (r"gpt-oss|gpt-4o|gpt-4\.\d|gpt-5|chatgpt-|o[134]\b|computer-use|codex-", Encoding("o200k_base", True)),
    (r"gpt-3\.5|gpt-4|text-embedding-(3|ada)|davinci-002|babbage-002", Encoding("cl100k_base", True)),
    (r"qwen", Encoding("qwen3", True)),
    (r"(meta-)?llama-?3", Encoding("llama3", True)),
    (r"", Encoding("o200k_base", False)),
)


def encoding_of(model: str) -> Encoding:
    """The vocabulary to count a model's tokens with."""
    name = model.lower().rpartition("/")[2]
    return next(encoding for pattern, encoding in _ENCODINGS if re.match(pattern, name))


def count_tokens(text: str, encoding: Encoding) -> int:
    """The tokens of a text. What looks like a special token, such as `<|endoftext|>`, is text."""
    tokens: int = _tokenizer(encoding.name).count(text)
    return tokens


@functools.lru_cache(maxsize=256)
def count_repeated(text: str, encoding: Encoding) -> int:
    """The same for a text that many requests hold: a schema, a tool."""
    return count_tokens(text, encoding)


@functools.cache
def _tokenizer(name: str) -> Any:
    # Reading o200k_base takes 1.2 s of the processor and 67 MB: only what counts pays for it.
    import quicktok

    return quicktok.get_encoding(name)
