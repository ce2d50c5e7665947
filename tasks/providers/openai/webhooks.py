"""OpenAI's webhooks, checked by its SDK: https://platform.openai.com/docs/guides/webhooks."""

from __future__ import annotations

from collections.abc import Mapping

from openai import InvalidWebhookSignatureError, OpenAI

from configs.clock import Clock
from configs.errors import NotGenuine
from tasks.providers.webhooks import TOLERANCE_SECONDS, WebhookEvent, event_in


class OpenAIWebhooks:
    """A `WebhookReader` that goes by the SDK, and by the time of the machine."""

    def __init__(self, secret: str) -> None:
        # The client calls nobody, and wants a key all the same.
        self._webhooks = OpenAI(api_key="none", webhook_secret=secret.strip()).webhooks

    def read(self, body: bytes, headers: Mapping[str, str]) -> WebhookEvent:
        try:
            self._webhooks.verify_signature(body, headers, tolerance=TOLERANCE_SECONDS)
        except InvalidWebhookSignatureError as error:
            raise NotGenuine(str(error)) from error
        except (ValueError, TypeError) as error:  # a header that is missing, or text that is none
            raise NotGenuine("The webhook is not signed") from error
        return event_in(body, headers)


def connect(secret: str, clock: Clock) -> OpenAIWebhooks:  # noqa: ARG001 - one shape for all
    """What reads deliveries signed with that secret."""
    return OpenAIWebhooks(secret)
