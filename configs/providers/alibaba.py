"""Alibaba Cloud Model Studio: OpenAI's protocol, with labels, limits and windows of its own.

https://www.alibabacloud.com/help/en/model-studio/batch-interfaces-compatible-with-openai
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from configs.deadline import Lane
from configs.frozen import Window, seconds
from configs.prompt import Prompt
from configs.providers.base import FreeTrial, HostedProviderSettings, Metadata
from configs.providers.limits import ServiceLimits

REGION_URLS = {
    "singapore": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "beijing": "https://dashscope.aliyuncs.com/compatible-mode/v1",
}
_HOUR = 3_600


class AlibabaProvider(HostedProviderSettings):
    """Alibaba Cloud Model Studio. Keys belong to a region."""

    title: ClassVar[str] = "Alibaba"
    connector: ClassVar[str] = "openai.alibaba"
    # 500 MB a file, 6 MB a line (the smaller reading of MB), one thinking mode a file.
    limits: ClassVar[ServiceLimits] = ServiceLimits(
        max_requests=50_000, max_bytes=500_000_000, max_line_bytes=6_000_000, uniform=("enable_thinking",)
    )
    identity_keys: ClassVar[frozenset[str]] = frozenset({"name", "base_url", "region"})
    endpoints: ClassVar[frozenset[str] | None] = frozenset({"/v1/chat/completions", "/v1/embeddings"})
    # https://www.alibabacloud.com/help/en/model-studio/text-embedding-synchronous-api: a text, texts or a file.
    embeds_token_ids: ClassVar[bool] = False
    poll_floor_seconds: ClassVar[float] = 60.0  # "no more than once a minute"
    free_trial: ClassVar[FreeTrial | None] = FreeTrial("batch-test-model", "/v1/chat/ds-test")
    # "Batch calls cost half of real-time calls", and have no discount for cached input.
    price_seller: ClassVar[str | None] = "alibaba"
    lanes: ClassVar[tuple[Lane, ...]] = ("standard",)
    lane_connector: ClassVar[str | None] = "openai.lane"
    batch_share: ClassVar[float | None] = 0.5
    why_no_cache: ClassVar[str] = "bills cached input of batches like any other"
    name: Literal["alibaba"]
    region: Literal["singapore", "beijing"] = Field(
        "singapore", description="The region that the key is for."
    )
    base_url: str | None = Field(
        None, description="Instead of the region's own: a workspace gateway's `.../compatible-mode/v1`."
    )
    api_key_env: str = Field("DASHSCOPE_API_KEY", description="Environment variable that holds the key.")
    completion_window: Window = Field("24h", description="How long it may take: 24h to 336h, or 1d to 14d.")
    metadata: Metadata = Field(
        {}, description="Its own entries for batches, such as `ds_batch_finish_callback`."
    )

    @field_validator("completion_window")
    @classmethod
    def _window_it_takes(cls, value: str) -> str:
        if not 24 * _HOUR <= seconds(value) <= 336 * _HOUR:
            raise ValueError("Model Studio takes 24h to 336h, or 1d to 14d")
        return value

    @field_validator("metadata")
    @classmethod
    def _entries_it_keeps(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name in ("ds_name", "ds_description"):
                raise ValueError(f"{name} is set by Nightmail, which finds its batches by it")
            if not name.startswith("ds_"):
                raise ValueError(
                    f"{name}: Model Studio keeps only its own entries, such as ds_batch_finish_callback"
                )
        return value

    def seller_for(self, prompt: Prompt) -> str | None:
        """None for Beijing: the published prices are those of the international region."""
        return None if self.region == "beijing" else super().seller_for(prompt)

    def unsupported(self, prompt: Prompt) -> str | None:
        """Also templates in `enable_thinking`: all requests of a batch must have the same value."""
        thinking = prompt.params.get("enable_thinking")
        if isinstance(thinking, str) and ("{{" in thinking or "{%" in thinking):
            return (
                "prompt.params.enable_thinking: a batch at Alibaba has one thinking mode; write true or false"
            )
        return super().unsupported(prompt)

    @property
    def address(self) -> str:
        """The region's URL, or `base_url`."""
        return self.base_url or REGION_URLS[self.region]

    @property
    def answered_by(self) -> str:
        """The name or URL of what answers the rows, shown in the receipt."""
        return self.base_url or f"{self.name} {self.region}"
