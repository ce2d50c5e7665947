"""The batch services by name. Adding one: its settings in a file here, its import and its place in the union below."""

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
    get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(AnyProvider)
}
"""The settings classes by the name that stands in the job file."""


def provider_class(name: str, dialect: Dialect | None = None) -> type[AnyProvider]:
    """The settings class of that name, which has to be of the line format where one is given; else ConfigError."""
    known = {each: kind for each, kind in PROVIDERS.items() if dialect in (None, kind.dialect)}
    if name not in known:
        raise ConfigError(f"--provider {name}: is not known here; allowed: {', '.join(known)}")
    return known[name]
