"""The `provider` section of the job file: one settings class per batch service.

`dialect` names the line format the service reads and writes (`tasks.stages.wire`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, PositiveInt, field_validator

from configs.frozen import Frozen, Window, seconds
from configs.prompt import Prompt

Dialect = Literal["openai", "gemini", "anthropic"]
_Tags = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]
_HOUR = 3_600


class Settings(Frozen):
    """What all services have: the line format, where they are, and what of a prompt they cannot do."""

    dialect: ClassVar[Dialect] = "openai"
    endpoints: ClassVar[frozenset[str] | None] = None  # None: whatever the job file knows
    poll_floor_seconds: ClassVar[float] = 0.0  # batches are not looked at more often
    ends_in_time: ClassVar[bool] = True  # a batch that outlasts its window is stuck
    free_trial: ClassVar[tuple[str, str] | None] = None  # model and endpoint that cost nothing

    def refusal(self, prompt: Prompt) -> str | None:
        """Why this service cannot do what the prompt asks for, in one line; None when it can."""
        if self.endpoints is None or prompt.endpoint in self.endpoints:
            return None
        known = ", ".join(sorted(self.endpoints))
        return f"prompt.endpoint: {self.title} has no {prompt.endpoint} in batches; it has {known}"

    @property
    def title(self) -> str:
        """The service's name for people."""
        return type(self).__name__.removesuffix("Provider")


class KeyedSettings(Settings):
    """A service that wants a key: from the environment, or from a Prefect Secret block."""

    name: str
    api_key_env: str
    api_key_block: str | None = Field(
        None, description="Prefect Secret block that holds the key, instead of the environment."
    )

    @property
    def key_name(self) -> str:
        """Where the key comes from, for messages and for telling accounts apart."""
        return self.api_key_env if self.api_key_block is None else f"block {self.api_key_block}"

    @property
    def answered_by(self) -> str:
        """Who answers the rows, for the receipt."""
        return getattr(self, "base_url", None) or self.name


class LocalProvider(Settings):
    """The embedded batch service on this machine: no key, no network."""

    free_trial: ClassVar[tuple[str, str] | None] = ("any-model", "/v1/chat/completions")
    name: Literal["local"] = "local"
    upstream: str | None = Field(
        None,
        description="OpenAI-compatible base URL that answers the rows (Ollama, vLLM, ...); without it, deterministic echoes.",
    )
    api_key_env: str = Field(
        "NIGHTMAIL_UPSTREAM_KEY", description="Environment variable with the upstream's key, if it needs one."
    )
    concurrency: PositiveInt = Field(4, description="Requests at a time to the upstream.")
    rows_per_second: PositiveInt | None = Field(None, description="Slows the echoes down, to watch progress.")
    completion_window: Window = "24h"
    metadata: dict[str, str] = Field({}, description="Kept with every batch.")

    def refusal(self, prompt: Prompt) -> str | None:
        """An upstream answers at once, and a video takes minutes."""
        if self.upstream is not None and prompt.endpoint == "/v1/videos":
            return (
                "prompt.endpoint: an upstream makes no /v1/videos; without provider.upstream there are echoes"
            )
        return super().refusal(prompt)

    @property
    def answered_by(self) -> str:
        """Who answers the rows, for the receipt."""
        return self.upstream or "echo"


class OpenAIProvider(KeyedSettings):
    """OpenAI, or any service that speaks its Files and Batches protocol (set base_url)."""

    name: Literal["openai"]
    base_url: str | None = Field(None, description="null is api.openai.com.")
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    completion_window: Window = "24h"
    metadata: _Tags = Field({}, max_length=12)


class AlibabaProvider(KeyedSettings):
    """Alibaba Cloud Model Studio. Keys belong to a region."""

    endpoints: ClassVar[frozenset[str] | None] = frozenset({"/v1/chat/completions", "/v1/embeddings"})
    poll_floor_seconds: ClassVar[float] = 60.0  # "no more than once a minute"
    free_trial: ClassVar[tuple[str, str] | None] = ("batch-test-model", "/v1/chat/ds-test")
    name: Literal["alibaba"]
    region: Literal["singapore", "beijing"] = Field(
        "singapore", description="The region that the key is for."
    )
    base_url: str | None = Field(
        None, description="Instead of the region's own: a workspace gateway's `.../compatible-mode/v1`."
    )
    api_key_env: str = Field("DASHSCOPE_API_KEY", description="Environment variable that holds the key.")
    completion_window: Window = Field("24h", description="How long it may take: 24h to 336h, or 1d to 14d.")
    metadata: _Tags = Field(
        {}, description="Its own entries for batches, such as `ds_batch_finish_callback`."
    )

    @field_validator("completion_window")
    @classmethod
    def _a_window_it_takes(cls, value: str) -> str:
        if not 24 * _HOUR <= seconds(value) <= 336 * _HOUR:
            raise ValueError("Model Studio takes 24h to 336h, or 1d to 14d")
        return value

    @field_validator("metadata")
    @classmethod
    def _ours_are_ours(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name in ("ds_name", "ds_description"):
                raise ValueError(f"{name} is set by Nightmail, which finds its batches by it")
            if not name.startswith("ds_"):
                raise ValueError(
                    f"{name}: Model Studio keeps only its own entries, such as ds_batch_finish_callback"
                )
        return value

    def refusal(self, prompt: Prompt) -> str | None:
        """One thinking mode a file, beside what every service may refuse."""
        thinking = prompt.params.get("enable_thinking")
        if isinstance(thinking, str) and ("{{" in thinking or "{%" in thinking):
            return (
                "prompt.params.enable_thinking: a batch at Alibaba has one thinking mode; write true or false"
            )
        return super().refusal(prompt)

    @property
    def answered_by(self) -> str:
        """Who answers the rows, for the receipt."""
        return self.base_url or f"{self.name} {self.region}"


class AzureProvider(KeyedSettings):
    """Azure OpenAI. `prompt.model` is the name of a Global Batch or Data Zone Batch deployment."""

    endpoints: ClassVar[frozenset[str] | None] = frozenset({"/v1/chat/completions", "/v1/responses"})
    ends_in_time: ClassVar[bool] = False
    name: Literal["azure"]
    endpoint: str = Field(
        pattern=r"^https?://[^/?#]+/?$", description="The resource, e.g. `https://NAME.openai.azure.com`."
    )
    api_version: str | None = Field(
        None, description="A dated API such as `2024-10-21`; null is the resource's `/openai/v1/`."
    )
    api_key_env: str = Field(
        "AZURE_OPENAI_API_KEY", description="Environment variable that holds the resource's key."
    )
    completion_window: Window = Field(
        "24h", description="Azure takes 24h, and goes on with batches that take longer."
    )
    metadata: _Tags = Field({}, max_length=12)

    @property
    def answered_by(self) -> str:
        """Who answers the rows, for the receipt."""
        return self.endpoint


class GeminiProvider(KeyedSettings):
    """Google's Gemini Batch API (Gemini Developer API); needs the extra `gemini`."""

    dialect: ClassVar[Dialect] = "gemini"
    endpoints: ClassVar[frozenset[str] | None] = frozenset(
        {"/v1/chat/completions", "/v1/responses", "/v1/embeddings"}
    )
    # No window can be chosen. Google aims at 24 hours, and drops a batch that is still open after 48.
    completion_window: ClassVar[str] = "48h"
    metadata: ClassVar[Mapping[str, str]] = MappingProxyType({})
    name: Literal["gemini"]
    base_url: str | None = Field(None, description="null is generativelanguage.googleapis.com.")
    api_version: str = Field(
        "v1", pattern=r"^v[0-9][a-z0-9]*$", description="v1beta where a model or field is new."
    )
    api_key_env: str = Field("GEMINI_API_KEY", description="Environment variable that holds the key.")


class AnthropicProvider(KeyedSettings):
    """Anthropic's Message Batches, or a gateway that speaks them (set base_url).

    A batch keeps nothing of ours and always has a day: there is no metadata and no completion_window to set.
    """

    dialect: ClassVar[Dialect] = "anthropic"
    endpoints: ClassVar[frozenset[str] | None] = frozenset({"/v1/chat/completions", "/v1/responses"})
    completion_window: ClassVar[Window] = "24h"
    metadata: ClassVar[Mapping[str, str]] = MappingProxyType({})
    name: Literal["anthropic"]
    base_url: str | None = Field(None, description="null is api.anthropic.com.")
    api_key_env: str = Field("ANTHROPIC_API_KEY", description="Environment variable that holds the key.")
    api_version: str | None = Field(
        None,
        pattern=r"^\d{4}-\d{2}-\d{2}$",
        description="The anthropic-version header; null is the SDK's own. Before 2026-10-21, temperature, top_p and top_k exist.",
    )
    cache_ttl: Literal["5m", "1h"] | None = Field(
        "1h",
        description="Mark a system text without template holes for the prompt cache, for that long; null marks nothing.",
    )


AnyProvider = (
    LocalProvider | OpenAIProvider | AlibabaProvider | AzureProvider | GeminiProvider | AnthropicProvider
)
Provider = Annotated[AnyProvider, Field(discriminator="name")]
SETTINGS: dict[str, type[AnyProvider]] = {
    get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(AnyProvider)
}
"""The settings classes by the name that stands in the job file."""


def bare(name: str) -> AnyProvider:
    """Settings that name a service and nothing else, for what does not depend on the rest (its limits)."""
    only: dict[str, Any] = {"name": name}
    return SETTINGS[name].model_construct(**only)
