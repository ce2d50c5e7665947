"""Connect to Anthropic's Message Batches, or to a gateway that speaks them."""

from __future__ import annotations

from collections.abc import Mapping

from anthropic import Anthropic, DefaultHttpxClient

from configs.home import Home
from configs.providers.anthropic import AnthropicProvider
from tasks.providers.anthropic.batches import AnthropicBatches
from tasks.providers.base import key_from
from tasks.providers.deadlines import READING, with_deadlines


def connect(config: AnthropicProvider, home: Home, environ: Mapping[str, str]) -> AnthropicBatches:  # noqa: ARG001 - one shape for all
    """The service named by `config`; ConfigError when its key is not in the environment."""
    key = key_from(environ, config.api_key_env)
    version = {"anthropic-version": config.api_version} if config.api_version else {}
    return AnthropicBatches(
        account=config.account,
        limits=config.limits,
        make_client=lambda hooks: Anthropic(
            api_key=key,
            base_url=config.address,
            default_headers=version,
            http_client=with_deadlines(DefaultHttpxClient(event_hooks=hooks, timeout=READING)),
        ),
        key_hint=config.key_hint,
    )
