"""The `execution` section of the job file: where chunk work runs, and how many provider calls run side by side."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from configs.frozen import Frozen

Processes = Annotated[int, Field(strict=True, ge=1, le=1_024)]
"""Fits the largest machines; each takes the memory of one chunk."""


class Execution(Frozen):
    """Where chunk work runs. It changes how long a run takes and never what comes out, so it may change while a run sleeps."""

    engine: Literal["local", "dask"] = Field(
        "local", description="local: on this machine; dask: on the Dask cluster at address."
    )
    processes: Literal["auto"] | Processes = Field(
        "auto",
        description="How many chunks are worked on side by side, each with one chunk's memory. auto is as many as cores once"
        " a run has 300,000 rows, and one below that; with dask, all threads of the cluster.",
    )
    address: str | None = Field(None, description="The Dask scheduler, e.g. tcp://10.0.0.5:8786.")
    transfers: int = Field(
        4,
        strict=True,
        ge=1,
        le=32,
        description="How many chunks are posted, looked at, fetched and merged side by side: uploads, downloads and other calls to"
        " the provider. Each takes some 30 MB of memory for 50,000 requests.",
    )

    @field_validator("processes", mode="before")
    @classmethod
    def _auto_or_a_number(cls, value: object) -> object:
        if value == "auto" or (
            isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_024
        ):
            return value
        raise ValueError("must be auto or a number from 1 to 1024")

    @field_validator("address")
    @classmethod
    def _is_a_scheduler(cls, address: str | None) -> str | None:
        if address is not None and not _has_host_and_port(address):
            raise ValueError("must be a scheduler's address such as tcp://10.0.0.5:8786")
        return address

    @model_validator(mode="after")
    def _dask_is_somewhere(self) -> Execution:
        if self.engine == "dask" and self.address is None:
            raise ValueError("engine dask needs the address of a scheduler; add address: tcp://HOST:8786")
        if self.engine == "local" and self.address is not None:
            raise ValueError("address is that of a Dask scheduler; add engine: dask, or remove it")
        return self


def _has_host_and_port(address: str) -> bool:
    """Whether it is a `tcp` or `tls` URL with a host and a port, without which Dask does not connect."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("tcp", "tls") and bool(parts.hostname and parts.port)
    except ValueError:  # a bracket that is not closed, a port that is no number
        return False
