"""From a job's provider section to the service that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from urllib.parse import urlsplit

from configs.clock import Clock
from configs.errors import ConfigError
from configs.foreign_text import Redactor
from configs.home import Home
from configs.providers.registry import PROVIDERS, AnyProvider
from tasks.providers.base import BatchService
from tasks.providers.foreign import redacting
from tasks.providers.webhooks import WebhookReader, check_secret

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")  # in either case


def connect(config: AnyProvider, home: Home, environ: Mapping[str, str]) -> BatchService:
    """The service a job names, which says nothing that holds its key. Its SDK is imported here; nothing goes over the network yet.

    ConfigError when its SDK is not installed, or its key is not in `environ`.
    """
    try:
        connector = import_module(f"tasks.providers.{config.connector}")
    except ImportError as error:
        if config.extra is None or _package(error.name) != _package(config.extra.module):
            raise
        raise ConfigError(f"provider.name: {config.name} needs {config.extra.install_hint}") from error
    service: BatchService = connector.connect(config, home, environ)
    redactor = Redactor((environ.get(config.api_key_env), *proxy_passwords(environ)))
    if config.lane_connector is not None:
        lane = import_module(f"tasks.providers.{config.lane_connector}")

        def in_real_time(concurrency: int) -> BatchService:
            made: BatchService = lane.connect(config, home, environ, concurrency)
            return redacting(made, redactor)

        vars(service)["in_real_time"] = in_real_time
    return redacting(service, redactor)


def webhook_readers(environ: Mapping[str, str], clock: Clock) -> dict[str, WebhookReader]:
    """By the provider's name, what reads its webhooks: of those providers whose signing secret is in `environ`.

    ConfigError for a secret that is none.
    """
    readers: dict[str, WebhookReader] = {}
    for name, settings in PROVIDERS.items():
        facts = settings.webhooks
        if facts is None or not (secret := environ.get(facts.secret_env)):
            continue
        check_secret(secret, facts.secret_env)
        readers[name] = import_module(f"tasks.providers.{facts.connector}").connect(secret, clock)
    return readers


def proxy_passwords(environ: Mapping[str, str]) -> Iterator[str | None]:
    """The passwords in the proxies' URLs, which messages about connections may show."""
    for name in _PROXIES:
        for variable in (name, name.upper()):
            yield urlsplit(environ.get(variable, "")).password


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]
