"""Gemini's webhooks of a project (static ones): https://ai.google.dev/gemini-api/docs/webhooks.

Its SDK makes and lists them and has nothing that checks a delivery. Those of a single batch (`webhook_config`) are signed in
another way, with Google's own keys, and are not asked for here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

from configs.clock import Clock
from configs.errors import NotGenuine
from tasks.providers.webhooks import (
    ID,
    SIGNATURE,
    TIMESTAMP,
    TOLERANCE_SECONDS,
    WebhookEvent,
    event_in,
    signing_key,
)

_VERSION = "v1,"
_BATCHES = "batches/"


class GeminiWebhooks:
    """A `WebhookReader` for deliveries that are signed as https://www.standardwebhooks.com says."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._key = signing_key(secret)
        self._clock = clock

    def read(self, body: bytes, headers: Mapping[str, str]) -> WebhookEvent:
        event_id, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
        if not event_id or not re.fullmatch(r"[0-9]{1,12}", timestamp):
            raise NotGenuine("The webhook is not signed")
        if abs(self._clock.now().timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
            raise NotGenuine("The webhook's timestamp is too old or too new")
        signed = f"{event_id}.{timestamp}.".encode("latin-1", "replace") + body
        ours = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest())
        # Several, while a secret is being replaced.
        given = headers.get(SIGNATURE, "").encode("latin-1", "replace").split()
        if not any(hmac.compare_digest(ours, each.removeprefix(_VERSION.encode())) for each in given):
            raise NotGenuine("The given webhook signature does not match the expected signature")
        event = event_in(body, headers)
        if event.batch_id is None or event.batch_id.startswith(_BATCHES):
            return event
        # Google's examples name batches without their folder.
        return WebhookEvent(event.id, _BATCHES + event.batch_id)


def connect(secret: str, clock: Clock) -> GeminiWebhooks:
    """What reads deliveries signed with that secret."""
    return GeminiWebhooks(secret, clock)
