"""Google's Gemini Batch API: what it accepts, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping

from configs.errors import ConfigError
from configs.home import Home
from configs.providers import GeminiProvider
from tasks.providers.base import BatchService, ServiceLimits, key_from

_GOOGLE = "https://generativelanguage.googleapis.com"

# https://ai.google.dev/gemini-api/docs/rate-limits: 2 GB a file, 20 GB of files and 100 batches at a time; no number of
# requests is published. A batch that is not done after 48 hours is lost whole, so ours are small: a hundred of these
# fill both quotas.
GEMINI_LIMITS = ServiceLimits(max_requests=10_000, max_bytes=200_000_000, all_or_nothing=True)


def connect(config: GeminiProvider, home: Home, environ: Mapping[str, str]) -> BatchService:  # noqa: ARG001
    """The service named by `config`; ConfigError when its key or its SDK is missing."""
    try:
        from tasks.providers.gemini.batches import GeminiBatch
    except ImportError as error:
        if not (error.name or "").startswith("google"):
            raise
        raise ConfigError(
            'provider.name: gemini needs the package google-genai; in the checkout, pip install -e ".[gemini]"'
        ) from error
    key = key_from(environ, config.api_key_env)
    host = config.base_url or _GOOGLE
    return GeminiBatch(
        account=f"gemini {host} {config.key_name}",
        limits=GEMINI_LIMITS,
        base_url=host,
        api_version=config.api_version,
        key=key,
        key_hint=f"check the key in {config.key_name}",
    )


def limits(config: GeminiProvider) -> ServiceLimits:  # noqa: ARG001 - one shape for all
    """What it accepts."""
    return GEMINI_LIMITS
