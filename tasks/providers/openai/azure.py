"""Azure OpenAI: OpenAI's protocol at a resource of one's own, with deployments for models.

https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
"""

from __future__ import annotations

from collections.abc import Mapping

from openai import AzureOpenAI, DefaultHttpxClient, OpenAI

from configs.home import Home
from configs.providers import AzureProvider
from tasks.providers.base import ServiceLimits, key_from
from tasks.providers.openai.compatible import KEEP_SECONDS, Hooks, Manners, OpenAICompatible

# 100,000 requests and 200 MB a file (more only from a storage account of one's own).
LIMITS = ServiceLimits(max_requests=100_000, max_bytes=200_000_000)


def connect(config: AzureProvider, home: Home, environ: Mapping[str, str]) -> OpenAICompatible:  # noqa: ARG001 - one shape for all
    """The resource's service; ConfigError when its key is not in the environment."""
    key = key_from(environ, config.api_key_env)
    resource = config.endpoint.rstrip("/")
    # A resource holds 500 input files, or 10,000 that expire, after 14 to 30 days; older dated APIs know no expiry.
    keep = KEEP_SECONDS if config.api_version is None else None

    def client(hooks: Hooks) -> OpenAI:
        http = DefaultHttpxClient(event_hooks=hooks)
        if config.api_version is None:
            return OpenAI(api_key=key, base_url=f"{resource}/openai/v1/", http_client=http)
        return AzureOpenAI(
            api_key=key, azure_endpoint=resource, api_version=config.api_version, http_client=http
        )

    return OpenAICompatible(
        account=f"azure {resource} {config.key_name}",
        limits=LIMITS,
        connect=client,
        key_hint=f"check the key in {config.key_name}, and that it is for {resource}",
        manners=Manners(keep_uploads_seconds=keep, store="the resource's file store (500 input files)"),
    )


def limits(config: AzureProvider) -> ServiceLimits:  # noqa: ARG001 - one shape for all
    """What it accepts."""
    return LIMITS
