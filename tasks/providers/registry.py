"""The batch services, by name. Adding one: a file here, its settings in `configs.providers`, a line below."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from configs.home import Home
from configs.providers import AnyProvider
from tasks.providers.base import BatchService, ServiceLimits

# Each has `connect(config, home, environ) -> BatchService` and `limits(config) -> ServiceLimits`.
_MODULES = {
    "anthropic": "anthropic.service",
    "local": "openai.local",
    "openai": "openai.openai",
    "alibaba": "openai.alibaba",
    "azure": "openai.azure",
    "gemini": "gemini.service",
}


def connect(config: AnyProvider, home: Home, environ: Mapping[str, str]) -> BatchService:
    """The service a job names. Its SDK is imported here; nothing goes over the network yet."""
    service: BatchService = _module(config).connect(config, home, environ)
    return service


def limits(config: AnyProvider) -> ServiceLimits:
    """What the service of a job accepts; needs no key."""
    accepted: ServiceLimits = _module(config).limits(config)
    return accepted


def _module(config: AnyProvider) -> Any:
    return import_module(f"tasks.providers.{_MODULES[config.name]}")
