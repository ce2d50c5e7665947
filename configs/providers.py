"""The `provider` section of the job file: one settings class per batch service.

`dialect` names the line format the service reads and writes (`tasks.stages.wire`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, PositiveInt

from configs.frozen import Frozen, Window

Dialect = Literal["openai"]


class LocalProvider(Frozen):
    """The embedded batch service on this machine: no key, no network."""

    dialect: ClassVar[Dialect] = "openai"
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

    @property
    def answered_by(self) -> str:
        """Who answers the rows, for the receipt."""
        return self.upstream or "echo"


class OpenAIProvider(Frozen):
    """OpenAI, or any service that speaks its Files and Batches protocol (set base_url)."""

    dialect: ClassVar[Dialect] = "openai"
    name: Literal["openai"]
    base_url: str | None = Field(None, description="null is api.openai.com.")
    api_key_env: str = Field("OPENAI_API_KEY", description="Environment variable that holds the key.")
    completion_window: Window = "24h"
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        {}, max_length=12
    )

    @property
    def answered_by(self) -> str:
        """Who answers the rows, for the receipt."""
        return self.base_url or self.name


AnyProvider = LocalProvider | OpenAIProvider
Provider = Annotated[AnyProvider, Field(discriminator="name")]
SETTINGS: dict[str, type[AnyProvider]] = {
    get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(AnyProvider)
}
"""The settings classes by the name that stands in the job file."""
