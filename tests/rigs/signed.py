"""Webhooks as a provider signs them: https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, and theirs").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"a secret of somebody else's, too").decode()


def event(batch_id: str, kind: str = "batch.completed", **more: Any) -> bytes:
    """The body of a delivery about a batch."""
    return json.dumps({"object": "event", "type": kind, "data": {"id": batch_id}, **more}).encode()


def signed(body: bytes, event_id: str = "evt_1", secret: str = SECRET, age: int = 0) -> dict[str, str]:
    """The headers of that delivery, signed so many seconds ago."""
    timestamp = str(int(time.time()) - age)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
