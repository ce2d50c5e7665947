"""The line formats by name. To add one, write a request builder and a result parser, and add an entry below."""

from __future__ import annotations

from functools import partial

from tasks.stages.wire.anthropic import cache as anthropic_cache
from tasks.stages.wire.anthropic import content as anthropic_content
from tasks.stages.wire.anthropic import requests as anthropic_requests
from tasks.stages.wire.anthropic import results as anthropic_results
from tasks.stages.wire.dialect import Dialect
from tasks.stages.wire.gemini import content as gemini_content
from tasks.stages.wire.gemini import requests as gemini_requests
from tasks.stages.wire.gemini import results as gemini_results
from tasks.stages.wire.openai import content, notes, requests, results

_DIALECTS = {
    "openai": Dialect(
        lambda prompt, _: requests.request_tree(prompt),
        results.ResultParser,
        lambda line, _: content.content_of(line),
        partial(results.ResultParser, several=True),
        notes.notes,
    ),
    "gemini": Dialect(
        lambda prompt, _: gemini_requests.request_tree(prompt),
        gemini_results.parser,
        gemini_content.content_of,
    ),
    "anthropic": Dialect(
        anthropic_requests.request_tree,
        anthropic_results.parser,
        lambda line, _: anthropic_content.content_of(line),
        cache=anthropic_cache.CACHE,
    ),
}


def dialect(name: str) -> Dialect:
    """The line format of that name; providers' settings name theirs."""
    return _DIALECTS[name]
