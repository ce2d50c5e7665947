"""Settings of the embedded batch service."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from configs.frozen import Count, Window
from configs.prompt import Prompt
from configs.providers.base import FreeTrial, ProviderSettings, usable_url
from configs.providers.limits import ServiceLimits
from configs.providers.openai import OPENAI_LIMITS


class LocalProvider(ProviderSettings):
    """The embedded batch service on this machine: no key, no network."""

    title: ClassVar[str] = "Local"
    connector: ClassVar[str] = "openai.local"
    limits: ClassVar[ServiceLimits] = OPENAI_LIMITS
    identity_keys: ClassVar[frozenset[str]] = frozenset({"name", "upstream"})
    why_no_lanes: ClassVar[str] = "asks its upstream in real time already, and echoes at once"
    free_trial: ClassVar[FreeTrial | None] = FreeTrial("any-model", "/v1/chat/completions")
    name: Literal["local"] = "local"
    upstream: str | None = Field(
        None,
        description="OpenAI-compatible base URL that answers the rows (Ollama, vLLM, ...); without it, deterministic echoes.",
    )
    api_key_env: str = Field(
        "NIGHTMAIL_UPSTREAM_KEY", description="Environment variable with the upstream's key, if it needs one."
    )
    concurrency: int = Field(
        4, strict=True, ge=1, le=1_000, description="Requests at a time to the upstream."
    )
    rows_per_second: Count | None = Field(None, description="Slows the echoes down, to watch progress.")
    completion_window: Window = "24h"
    metadata: dict[str, str] = Field({}, description="Kept with every batch.")

    @field_validator("upstream")
    @classmethod
    def _can_be_called(cls, value: str | None) -> str | None:
        return None if value is None else usable_url(value)

    @property
    def is_free(self) -> bool:
        """True for echoes; the costs of an upstream are unknown."""
        return self.upstream is None

    @property
    def trial(self) -> FreeTrial | None:
        """None with an upstream, whose model has to be named."""
        return self.free_trial if self.is_free else None

    def poll_seconds(self, first: float, longest: float) -> tuple[float, float]:
        """Every 1 to 5 seconds, if that is more often than the job says: polling a local service costs nothing."""
        return min(first, 1), min(longest, 5)

    def unsupported(self, prompt: Prompt) -> str | None:
        """No videos from an upstream: it must answer within the request, and a video takes minutes."""
        if self.upstream is not None and prompt.endpoint == "/v1/videos":
            return (
                "prompt.endpoint: an upstream makes no /v1/videos; without provider.upstream there are echoes"
            )
        return super().unsupported(prompt)

    @property
    def answered_by(self) -> str:
        """The name or URL of what answers the rows, shown in the receipt."""
        return self.upstream or "echo"
