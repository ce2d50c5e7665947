"""The line formats by name. To add one, write a request builder and a result parser, and add an entry below."""

from __future__ import annotations

from functools import partial

from tasks.stages.wire import told
from tasks.stages.wire.anthropic import cache as anthropic_cache
from tasks.stages.wire.anthropic import content as anthropic_content
from tasks.stages.wire.anthropic import included as anthropic_included
from tasks.stages.wire.anthropic import requests as anthropic_requests
from tasks.stages.wire.anthropic import results as anthropic_results
from tasks.stages.wire.dialect import Dialect
from tasks.stages.wire.gemini import content as gemini_content
from tasks.stages.wire.gemini import included as gemini_included
from tasks.stages.wire.gemini import requests as gemini_requests
from tasks.stages.wire.gemini import results as gemini_results
from tasks.stages.wire.openai import content, included, notes, requests, results

_DIALECTS = {
    "openai": Dialect(
        lambda prompt, provider: requests.request_tree(prompt, token_ids=provider.embeds_token_ids),
        results.ResultParser,
        lambda line, _: content.content_of(line),
        told.openai,
        included.included,
        partial(results.ResultParser, several=True),
        notes.notes,
    ),
    "gemini": Dialect(
        lambda prompt, _: gemini_requests.request_tree(prompt),
        gemini_results.parser,
        gemini_content.content_of,
        told.gemini,
        gemini_included.included,
        notes=gemini_requests.notes,
    ),
    "anthropic": Dialect(
        anthropic_requests.request_tree,
        anthropic_results.parser,
        lambda line, _: anthropic_content.content_of(line),
        told.anthropic,
        anthropic_included.included,
        notes=anthropic_requests.notes,
        cache=anthropic_cache.CACHE,
    ),
}


def dialect(name: str) -> Dialect:
    """The line format of that name; providers' settings name theirs."""
    return _DIALECTS[name]
