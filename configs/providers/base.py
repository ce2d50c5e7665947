"""Base classes of the providers' settings.

A settings class is both the `provider` section of the job file (its fields) and the service's registry entry (its class
variables): whoever needs to know something about a service reads it there.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from configs.deadline import Lane
from configs.extras import Extra
from configs.foreign_text import secret_in_url
from configs.frozen import Frozen
from configs.prompt import CacheMode, Prompt
from configs.providers.billing import has_other_rates
from configs.providers.limits import ServiceLimits

Dialect = Literal["openai", "gemini", "anthropic"]
"""The line formats of `tasks.stages.wire`."""

Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]
"""Metadata of a batch, with OpenAI's limits: https://platform.openai.com/docs/api-reference/batch/create."""

MAX_METADATA_ENTRIES = 12  # for the job; OpenAI allows 16 in all, and Nightmail adds its own


def usable_url(url: str) -> str:
    """The URL of a service, if requests can be sent to it; ValueError for one that every call would fail at."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no URL ({error}); write it like https://host/v1") from error
    broken = not url.isprintable() or " " in url or "//" in parts.path
    if parts.scheme not in ("http", "https") or not host or broken:
        raise ValueError("is no URL of a service; write it with its scheme, like https://host/v1")
    return url


@dataclass(frozen=True)
class FreeTrial:
    """A model that a service offers for free tests of batches, and its endpoint."""

    model: str
    endpoint: str


@dataclass(frozen=True)
class Webhooks:
    """How a service tells by itself that a batch has ended."""

    connector: str  # module of `tasks.providers` with `connect(secret, clock)`
    secret_env: str  # environment variable with the secret that it signs with


_VARIABLE = r"[A-Z_][A-Z0-9_]{0,99}"  # capitals, as every vendor writes them: most keys are no such word


class ProviderSettings(Frozen):
    """One batch service: its section of the job file, and the facts about it that no job can change."""

    title: ClassVar[str]  # the service's name for people
    connector: ClassVar[str]  # module of `tasks.providers` with `connect(settings, home, environ)`
    limits: ClassVar[ServiceLimits]
    identity_keys: ClassVar[
        frozenset[str]
    ]  # the keys that determine who answers: a run cannot be resumed with another value
    dialect: ClassVar[Dialect] = "openai"  # the line format it reads and writes
    endpoints: ClassVar[frozenset[str] | None] = None  # None: whatever the job file knows
    embeds_token_ids: ClassVar[bool] = True  # takes lists of token ids in place of texts
    poll_floor_seconds: ClassVar[float] = 0.0  # batches are not polled more often than this
    ends_in_time: ClassVar[bool] = True  # a batch that outlasts its window is stuck
    price_seller: ClassVar[str | None] = None  # its name in the package model-prices, if it is there
    batch_share: ClassVar[float | None] = (
        None  # of the real-time price, where no batch price is published as data
    )
    free_trial: ClassVar[FreeTrial | None] = None
    extra: ClassVar[Extra | None] = None  # the optional part of the installation that brings its SDK
    cache_modes: ClassVar[frozenset[CacheMode]] = frozenset({"none"})
    why_no_cache: ClassVar[str] = "has no prompt cache that requests can ask for"
    lanes: ClassVar[tuple[Lane, ...]] = ()  # of its real-time calls, that a `deadline` may name
    why_no_lanes: ClassVar[str] = "is asked by batches alone"
    lane_connector: ClassVar[str | None] = None  # module of `tasks.providers` that makes those calls
    webhooks: ClassVar[Webhooks | None] = None

    @field_validator("api_key_env", check_fields=False)
    @classmethod
    def _is_a_variables_name(cls, name: str) -> str:
        check_variable_name(name)
        return name

    @field_validator("base_url", "endpoint", "upstream", check_fields=False)
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        secret = secret_in_url(url or "")
        if secret:
            raise ValueError(
                f"the URL holds {secret}, and job files are kept; put the key into the variable that api_key_env names"
            )
        return url

    @property
    def is_free(self) -> bool:
        """Whether all requests are free of charge."""
        return False

    @property
    def trial(self) -> FreeTrial | None:
        """The free trial that these settings allow."""
        return self.free_trial

    def seller_for(self, prompt: Prompt) -> str | None:
        """The seller, as model-prices names it, whose published prices apply to the prompt; None if unknown."""
        return None if has_other_rates(prompt) else self.price_seller

    def poll_seconds(self, first: float, longest: float) -> tuple[float, float]:
        """The shortest and the longest polling interval, given those of the job."""
        return max(first, self.poll_floor_seconds), max(longest, self.poll_floor_seconds)

    def unsupported(self, prompt: Prompt) -> str | None:
        """Why the service cannot do what the prompt asks for, in one line; None when it can."""
        if self.endpoints is not None and prompt.endpoint not in self.endpoints:
            known = ", ".join(sorted(self.endpoints))
            return f"prompt.endpoint: {self.title} has no {prompt.endpoint} in batches; it has {known}"
        if prompt.cache not in self.cache_modes:
            return f"prompt.cache: {prompt.cache}: {self.title} {self.why_no_cache}; remove it"
        return None

    def no_lane(self, lane: Lane, prompt: Prompt) -> str | None:
        """Why rows of the prompt cannot be asked by real-time calls after a `deadline`, in one line; None when they can."""
        if not self.lanes:
            return (
                f"deadline: {self.title} {self.why_no_lanes}; remove it, or end the wait by run.give_up_after"
            )
        if lane not in self.lanes:
            return f"deadline.lane: {self.title} has no {lane} calls; write {' or '.join(self.lanes)}"
        if prompt.endpoint.startswith(("/v1/images", "/v1/videos")):
            return f"deadline: answers of {prompt.endpoint} are files, which come in batches alone; remove it"
        if lane == "flex" and "service_tier" in prompt.params:
            return "prompt.params.service_tier: deadline.lane sets it too; remove one of the two"
        return None


def check_variable_name(name: str) -> None:
    """ValueError for what is no environment variable's name, a key for instance. The message does not repeat it."""
    if not re.fullmatch(_VARIABLE, name):
        raise ValueError(
            "is the NAME of an environment variable, in capitals, such as OPENAI_API_KEY; if a key stands there, put it into"
            " the environment, and take it out of files and shell history"
        )


class KeyedProviderSettings(ProviderSettings):
    """Settings of a service that needs an API key: from the environment, or from a Prefect Secret block."""

    name: str
    api_key_env: str
    api_key_block: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]{1,60}$",
        description="Prefect Secret block that holds the key, instead of the environment.",
    )

    @classmethod
    def default_key_variable(cls) -> str:
        """The environment variable that holds the key where the job file names no other."""
        return str(cls.model_fields["api_key_env"].default)

    @property
    @abstractmethod
    def address(self) -> str:
        """The service's URL, without secrets."""

    @property
    def key_name(self) -> str:
        """Where the key comes from, for messages and for telling accounts apart."""
        return self.api_key_env if self.api_key_block is None else f"block {self.api_key_block}"

    @property
    def key_hint(self) -> str:
        """The next step when the service refuses the key."""
        return f"check the key in {self.key_name}, and that it is for {self.answered_by}"

    @property
    def account(self) -> str:
        """Whose quota is used, and a name for it in the ledger."""
        return f"{self.name} {self.address} {self.key_name}"

    @property
    def answered_by(self) -> str:
        """The name or URL of what answers the rows, shown in the receipt."""
        return self.name


class HostedProviderSettings(KeyedProviderSettings):
    """Settings of a service at its vendor's URL, or at another one (`base_url`) with the same protocol."""

    default_url: ClassVar[str]
    connector: ClassVar[str] = "openai.openai"
    identity_keys: ClassVar[frozenset[str]] = frozenset({"name", "base_url"})
    base_url: str | None = None

    @field_validator("base_url")
    @classmethod
    def _can_be_called(cls, value: str | None) -> str | None:
        return None if value is None else usable_url(value)

    @property
    def address(self) -> str:
        """The URL of the service."""
        return self.base_url or self.default_url

    @property
    def answered_by(self) -> str:
        """The name or URL of what answers the rows, shown in the receipt."""
        return self.base_url or self.name

    def seller_for(self, prompt: Prompt) -> str | None:
        """The vendor's prices apply only at the vendor's URL; a gateway or another service has its own."""
        return None if self.base_url else super().seller_for(prompt)
