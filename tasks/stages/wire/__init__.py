"""Line formats by name. Adding one: a builder and a parser here, and a line below."""

from __future__ import annotations

from functools import partial

from tasks.stages.wire import gemini_requests, gemini_results, requests, results
from tasks.stages.wire.dialect import Dialect

_DIALECTS = {
    "openai": Dialect(
        requests.request_tree, results.ResultParser, partial(results.ResultParser, several=True)
    ),
    "gemini": Dialect(gemini_requests.request_tree, gemini_results.parser),
}


def dialect(name: str) -> Dialect:
    """The line format of that name, as the provider's settings name it."""
    return _DIALECTS[name]
