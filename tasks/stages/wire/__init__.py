"""Line formats by name. Adding one: a builder and a parser here, and a line below."""

from __future__ import annotations

from functools import partial

from tasks.stages.wire import (
    anthropic_requests,
    anthropic_results,
    gemini_requests,
    gemini_results,
    requests,
    results,
)
from tasks.stages.wire.dialect import Dialect

_DIALECTS = {
    "openai": Dialect(
        lambda prompt, _: requests.request_tree(prompt),
        results.ResultParser,
        partial(results.ResultParser, several=True),
    ),
    "gemini": Dialect(lambda prompt, _: gemini_requests.request_tree(prompt), gemini_results.parser),
    "anthropic": Dialect(anthropic_requests.request_tree, anthropic_results.parser),
}


def dialect(name: str) -> Dialect:
    """The line format of that name, as the provider's settings name it."""
    return _DIALECTS[name]
