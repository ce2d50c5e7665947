"""Deliveries that a provider has signed, and all that only look so: the same table for every provider that sends any."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from configs.clock import SystemClock
from configs.errors import ConfigError, NotGenuine
from configs.providers.registry import PROVIDERS
from rigs.signed import OTHER_SECRET, SECRET, event, signed
from tasks.providers.registry import webhook_readers
from tasks.providers.webhooks import WebhookReader

SECRETS = {name: facts.webhooks.secret_env for name, facts in PROVIDERS.items() if facts.webhooks}
IDS = {"openai": "batch_1", "gemini": "batches/1"}
BODY = event("batch_1")
Headers = dict[str, str]


@pytest.fixture(params=sorted(SECRETS))
def provider(request: pytest.FixtureRequest) -> str:
    """The name of each provider that sends webhooks."""
    return str(request.param)


@pytest.fixture
def reader(provider: str) -> WebhookReader:
    """What reads its deliveries."""
    return webhook_readers({SECRETS[provider]: SECRET}, SystemClock())[provider]


def test_those_that_send_webhooks_are_known_and_are_asked_for_by_their_secrets_alone() -> None:
    assert SECRETS.keys() == IDS.keys()
    assert webhook_readers({}, SystemClock()) == {}
    assert webhook_readers({"OPENAI_WEBHOOK_SECRET": ""}, SystemClock()) == {}
    assert set(webhook_readers(dict.fromkeys(SECRETS.values(), SECRET), SystemClock())) == set(SECRETS)


@pytest.mark.parametrize("kind", ["completed", "succeeded", "failed", "expired", "cancelled", "of-next-year"])
@pytest.mark.parametrize("age", [0, 200, -200])
def test_a_genuine_delivery_names_its_batch(
    reader: WebhookReader, provider: str, kind: str, age: int
) -> None:
    body = event(IDS[provider], f"batch.{kind}", text="日本語 \u2028")
    read = reader.read(body, signed(body, "evt_7", age=age))
    assert (read.id, read.batch_id) == ("evt_7", IDS[provider])


def test_of_several_signatures_one_is_enough(reader: WebhookReader) -> None:
    """While a secret is being replaced, the provider signs with both."""
    old, new = signed(BODY, secret=OTHER_SECRET), signed(BODY)
    both = {**new, "webhook-signature": f"{old['webhook-signature']} {new['webhook-signature']}"}
    assert reader.read(BODY, both).id == "evt_1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"batch.completed"',
        b"[" * 50_000,
        b'{"type": "batch.completed"}',
        b'{"type": "batch.completed", "data": "batch_1"}',
        b'{"type": "batch.completed", "data": {"id": ""}}',
        b'{"type": "batch.completed", "data": {"id": 1}}',
        b'{"type": "response.completed", "data": {"id": "batch_1"}}',
        b'{"type": ["batch."], "data": {"id": "batch_1"}}',
        b'{"data": {"id": "batch_1"}}',
    ],
    ids=lambda body: str(body[:50]),
)
def test_a_genuine_delivery_about_anything_else_names_none(reader: WebhookReader, body: bytes) -> None:
    assert reader.read(body, signed(body)).batch_id is None


FORGERIES: dict[str, Callable[[Headers], Headers]] = {
    "no headers": lambda _: {},
    "no id": lambda true: without(true, "webhook-id"),
    "no timestamp": lambda true: without(true, "webhook-timestamp"),
    "no signature": lambda true: without(true, "webhook-signature"),
    "empty": lambda true: dict.fromkeys(true, ""),
    "another id": lambda true: {**true, "webhook-id": "evt_2"},
    "another time": lambda true: {**true, "webhook-timestamp": str(int(true["webhook-timestamp"]) + 1)},
    "no time": lambda true: {**true, "webhook-timestamp": "now"},
    "a long time": lambda true: {**true, "webhook-timestamp": "9" * 5_000},
    "no digits of ours": lambda true: {**true, "webhook-timestamp": "²"},
    "a signature cut short": lambda true: {**true, "webhook-signature": true["webhook-signature"][:-4]},
    "an empty signature": lambda true: {**true, "webhook-signature": "v1,"},
    "letters of others": lambda true: {**true, "webhook-signature": "v1,é"},
    "another secret": lambda _: signed(BODY, secret=OTHER_SECRET),
    "another body": lambda _: signed(event("batch_2")),
    "old": lambda _: signed(BODY, age=3_600),
    "of the future": lambda _: signed(BODY, age=-3_600),
}


def without(headers: Headers, name: str) -> Headers:
    return {key: value for key, value in headers.items() if key != name}


@pytest.mark.parametrize("how", FORGERIES)
def test_whatever_the_provider_has_not_signed_of_late_is_refused(reader: WebhookReader, how: str) -> None:
    with pytest.raises(NotGenuine) as refused:
        reader.read(BODY, FORGERIES[how](signed(BODY)))
    assert SECRET[6:] not in str(refused.value)


def test_a_body_that_is_no_text_is_refused_where_it_is_not_signed(reader: WebhookReader) -> None:
    with pytest.raises(NotGenuine):
        reader.read(b"\xff\xfe", signed(BODY))


def test_a_gemini_batch_goes_by_the_name_that_its_api_has_for_it() -> None:
    reader = webhook_readers({"GEMINI_WEBHOOK_SECRET": SECRET}, SystemClock())["gemini"]
    for named in ("batches/abc", "abc"):
        body = event(named, "batch.succeeded")
        assert reader.read(body, signed(body)).batch_id == "batches/abc"


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_abc", "whsec_c2hvcnQ=", "sk-secret", "whsec_é" + "x" * 40, " "]
)
def test_a_secret_that_is_none_is_named_by_its_variable_alone(provider: str, secret: str) -> None:
    with pytest.raises(ConfigError, match=f"^{SECRETS[provider]}: is no signing secret") as refused:
        webhook_readers({SECRETS[provider]: secret}, SystemClock())
    assert secret.strip() in ("", "whsec_") or secret not in str(refused.value)
