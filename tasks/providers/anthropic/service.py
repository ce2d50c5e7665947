"""Anthropic's Message Batches, or a gateway that speaks them at another base URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from configs.errors import ConfigError
from configs.home import Home
from configs.providers import AnthropicProvider
from tasks.providers.anthropic.body import HEAD, TAIL
from tasks.providers.base import ServiceLimits, key_from

if TYPE_CHECKING:
    from tasks.providers.anthropic.batches import AnthropicBatches

_ANTHROPIC = "https://api.anthropic.com"

# https://platform.claude.com/docs/en/build-with-claude/batch-processing: 100,000 requests or 256 MB, whichever comes
# first; custom_id as PORTABLE_ID. 256,000,000 bytes are safe under both readings of MB.
ANTHROPIC_LIMITS = ServiceLimits(max_requests=100_000, max_bytes=256_000_000 - len(HEAD) - len(TAIL))


def connect(config: AnthropicProvider, home: Home, environ: Mapping[str, str]) -> AnthropicBatches:  # noqa: ARG001
    """The service named by `config`; ConfigError when its SDK or its key is not there."""
    try:
        from anthropic import Anthropic, DefaultHttpxClient

        from tasks.providers.anthropic.batches import AnthropicBatches
    except ModuleNotFoundError as error:
        raise ConfigError(
            'provider.name: anthropic needs the package anthropic; in the checkout, pip install -e ".[anthropic]"'
        ) from error
    key = key_from(environ, config.api_key_env)
    host = config.base_url or _ANTHROPIC
    version = {"anthropic-version": config.api_version} if config.api_version else {}
    return AnthropicBatches(
        account=f"anthropic {host} {config.key_name}",
        limits=ANTHROPIC_LIMITS,
        connect=lambda hooks: Anthropic(
            api_key=key,
            base_url=host,
            default_headers=version,
            http_client=DefaultHttpxClient(event_hooks=hooks),
        ),
        key_hint=f"check the key in {config.key_name}",
    )


def limits(config: AnthropicProvider) -> ServiceLimits:  # noqa: ARG001 - one shape for all
    """What it accepts."""
    return ANTHROPIC_LIMITS
