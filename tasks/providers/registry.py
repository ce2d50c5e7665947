"""From a job's provider section to the service that it names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from configs.errors import ConfigError
from configs.home import Home
from configs.providers.registry import AnyProvider
from tasks.providers.base import BatchService


def connect(config: AnyProvider, home: Home, environ: Mapping[str, str]) -> BatchService:
    """The service a job names. Its SDK is imported here; nothing goes over the network yet.

    ConfigError when its SDK is not installed, or its key is not in `environ`.
    """
    try:
        connector = import_module(f"tasks.providers.{config.connector}")
    except ImportError as error:
        if config.extra is None or _package(error.name) != _package(config.extra.module):
            raise
        raise ConfigError(f"provider.name: {config.name} needs {config.extra.install_hint}") from error
    service: BatchService = connector.connect(config, home, environ)
    return service


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]
