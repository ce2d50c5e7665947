"""Connect to Google's Gemini Batch API."""

from __future__ import annotations

from collections.abc import Mapping

from configs.home import Home
from configs.providers.gemini import GeminiProvider
from tasks.providers.base import key_from
from tasks.providers.gemini.batches import GeminiBatches


def connect(config: GeminiProvider, home: Home, environ: Mapping[str, str]) -> GeminiBatches:  # noqa: ARG001 - one shape for all
    """The service named by `config`; ConfigError when its key is not in the environment."""
    return GeminiBatches(
        account=config.account,
        limits=config.limits,
        base_url=config.address,
        api_version=config.api_version,
        key=key_from(environ, config.api_key_env),
        key_hint=config.key_hint,
    )
