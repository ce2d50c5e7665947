"""The providers' settings by name. To add one, write its settings in a file here and add it to the union below."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from configs.errors import ConfigError
from configs.providers.alibaba import AlibabaProvider
from configs.providers.anthropic import AnthropicProvider
from configs.providers.azure import AzureProvider
from configs.providers.base import Dialect
from configs.providers.gemini import GeminiProvider
from configs.providers.local import LocalProvider
from configs.providers.openai import OpenAIProvider

AnyProvider = (
    LocalProvider | OpenAIProvider | AlibabaProvider | AzureProvider | GeminiProvider | AnthropicProvider
)
Provider = Annotated[AnyProvider, Field(discriminator="name")]
PROVIDERS: dict[str, type[AnyProvider]] = {
    get_args(settings_class.model_fields["name"].annotation)[0]: settings_class
    for settings_class in get_args(AnyProvider)
}
"""The settings classes by the provider's name in the job file."""


def provider_class(name: str, dialect: Dialect | None = None) -> type[AnyProvider]:
    """The settings class of a provider. ConfigError if it is unknown, or has another line format than `dialect`."""
    known = {
        provider_name: settings_class
        for provider_name, settings_class in PROVIDERS.items()
        if dialect in (None, settings_class.dialect)
    }
    if name not in known:
        raise ConfigError(f"--provider {name}: is not known; allowed: {', '.join(known)}")
    return known[name]
