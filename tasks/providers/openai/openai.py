"""OpenAI, or any service that speaks its protocol at another base URL."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from openai import DefaultHttpxClient, OpenAI

from configs.home import Home
from configs.providers import OpenAIProvider
from tasks.providers.base import ServiceLimits, key_from
from tasks.providers.openai.compatible import (
    KEEP_SECONDS,
    OPENAI_LIMITS,
    Manners,
    OpenAICompatible,
)

_OPENAI = "api.openai.com"


def connect(config: OpenAIProvider, home: Home, environ: Mapping[str, str]) -> OpenAICompatible:  # noqa: ARG001
    """The service named by `config`; ConfigError when its key is not in the environment."""
    key = key_from(environ, config.api_key_env)
    host = config.base_url or f"https://{_OPENAI}/v1"
    # Others speak the protocol too, and some refuse this part of it.
    keep = KEEP_SECONDS if urlsplit(host).hostname == _OPENAI else None
    return OpenAICompatible(
        account=f"openai {host} {config.key_name}",
        limits=OPENAI_LIMITS,
        connect=lambda hooks: OpenAI(
            api_key=key, base_url=host, http_client=DefaultHttpxClient(event_hooks=hooks)
        ),
        key_hint=f"check the key in {config.key_name}",
        manners=Manners(keep_uploads_seconds=keep, keep_results_seconds=keep),
    )


def limits(config: OpenAIProvider) -> ServiceLimits:  # noqa: ARG001 - one shape for all
    """What it accepts."""
    return OPENAI_LIMITS
