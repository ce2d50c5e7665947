"""Azure OpenAI: OpenAI's protocol at a resource of one's own, with deployments for models.

https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from configs.home import Home
from configs.providers.azure import AzureProvider
from tasks.providers.base import key_from
from tasks.providers.deadlines import READING, with_deadlines
from tasks.providers.openai.compatible import KEEP_SECONDS, Hooks, OpenAICompatible, ServiceQuirks

if TYPE_CHECKING:
    from openai import OpenAI


def connect(config: AzureProvider, home: Home, environ: Mapping[str, str]) -> OpenAICompatible:  # noqa: ARG001 - one shape for all
    """The resource's service; ConfigError when its key is not in the environment."""
    key = key_from(environ, config.api_key_env)
    # A resource holds 500 input files, or 10,000 that expire, after 14 to 30 days; older dated APIs know no expiry.
    keep = KEEP_SECONDS if config.api_version is None else None

    def make_client(hooks: Hooks) -> OpenAI:
        from openai import AzureOpenAI, DefaultHttpxClient, OpenAI

        http = with_deadlines(DefaultHttpxClient(event_hooks=hooks, timeout=READING))
        if config.api_version is None:
            return OpenAI(api_key=key, base_url=f"{config.address}/openai/v1/", http_client=http)
        return AzureOpenAI(
            api_key=key, azure_endpoint=config.address, api_version=config.api_version, http_client=http
        )

    return OpenAICompatible(
        account=config.account,
        limits=config.limits,
        make_client=make_client,
        key_hint=config.key_hint,
        quirks=ServiceQuirks(keep_uploads_seconds=keep, store="the resource's file store (500 input files)"),
    )
