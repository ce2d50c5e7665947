"""OpenAI, and every service that speaks its protocol at another URL without quirks of its own."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from configs.home import Home
from configs.providers.openai import OpenAIProvider
from tasks.providers.openai.compatible import KEEP_SECONDS, OpenAICompatible, ServiceQuirks, connect_with_key


def connect(config: OpenAIProvider, home: Home, environ: Mapping[str, str]) -> OpenAICompatible:  # noqa: ARG001 - one shape for all
    """The service at the address of `config`; ConfigError when its key is not in the environment."""
    # Others refuse to be told when files expire (Perplexity: 400), or were not seen to take it.
    at_openai = urlsplit(config.address).hostname == urlsplit(OpenAIProvider.default_url).hostname
    keep = KEEP_SECONDS if at_openai else None
    quirks = ServiceQuirks(
        keep_uploads_seconds=keep,
        keep_results_seconds=keep,
        file_purpose=config.file_purpose,
        upload_path=config.upload_path,
    )
    return connect_with_key(config, environ, quirks)
