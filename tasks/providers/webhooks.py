"""What a provider sends by itself when a batch has ended: https://www.standardwebhooks.com, as OpenAI and Google use it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from configs.errors import ConfigError

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
"""The headers of every delivery: an id that stays the same when it is sent again, Unix seconds, signatures of all that."""

TOLERANCE_SECONDS: Final = 300
"""A delivery whose timestamp is further away than that is refused, as the standard says."""

_PREFIX = "whsec_"
_MIN_KEY_BYTES = 16  # the standard says 24 to 64


@dataclass(frozen=True)
class WebhookEvent:
    """A genuine delivery. `batch_id` is None for an event about anything but a batch.

    What it says of the batch is left out on purpose: it is a reason to look, and nothing else.
    """

    id: str
    batch_id: str | None


class WebhookReader(Protocol):
    """Reads one provider's deliveries."""

    def read(self, body: bytes, headers: Mapping[str, str]) -> WebhookEvent:
        """The event; `headers` are found by their names in lower case. NotGenuine unless the provider has signed it, of late."""


def signing_key(secret: str) -> bytes:
    """The bytes to sign with of a secret like `whsec_...`; ValueError for anything else."""
    if not secret.startswith(_PREFIX):
        raise ValueError(f"does not begin with {_PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX).strip(), validate=True)
    except binascii.Error as error:
        raise ValueError(f"has no base64 after {_PREFIX}") from error
    if len(key) < _MIN_KEY_BYTES:
        raise ValueError(f"is shorter than {_MIN_KEY_BYTES} bytes")
    return key


def check_secret(secret: str, variable: str) -> None:
    """ConfigError unless deliveries can be checked by this secret. The message does not repeat it."""
    try:
        signing_key(secret)
    except ValueError as error:
        raise ConfigError(
            f"{variable}: is no signing secret, it {error}; copy the one that the provider showed when the webhook was made"
        ) from error


def event_in(body: bytes, headers: Mapping[str, str]) -> WebhookEvent:
    """The event of a delivery whose signature was checked."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    return WebhookEvent(headers[ID], _batch_id(said))


def _batch_id(said: Any) -> str | None:
    """`{"type": "batch.completed", "data": {"id": "batch_1"}}`."""
    if not isinstance(said, dict) or not str(said.get("type")).startswith("batch."):
        return None
    data = said.get("data")
    found = data.get("id") if isinstance(data, dict) else None
    return found if isinstance(found, str) and found else None
