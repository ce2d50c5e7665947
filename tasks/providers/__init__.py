"""The batch services, by name. Adding one: a file here, a settings class in `configs.job`, a line below."""

from __future__ import annotations

from collections.abc import Mapping

from configs.home import Home
from configs.job import LocalProvider, OpenAIProvider
from tasks.providers.base import BatchService, ServiceLimits


def connect(config: LocalProvider | OpenAIProvider, home: Home, environ: Mapping[str, str]) -> BatchService:
    """The service a job names. Its SDK is imported here; nothing goes over the network yet."""
    if isinstance(config, LocalProvider):
        from tasks.providers import local_service

        return local_service.connect(config, home)
    from tasks.providers import openai_service

    return openai_service.connect(config, environ)


def limits(name: str) -> ServiceLimits:
    """What the service of that name accepts; needs no key."""
    from tasks.providers.openai_compatible import OPENAI_LIMITS

    return {"local": OPENAI_LIMITS, "openai": OPENAI_LIMITS}[name]
