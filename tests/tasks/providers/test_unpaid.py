"""An account that cannot pay is told from a passing refusal, by every service, at every call, of batches and of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from configs.errors import BillingRefused, LostReply, NightmailError, TransientError
from fakes.contract import EmbeddedStage, Stage
from fakes.unpaid import PASSING, REFUSED
from tasks.providers.gemini.replies import service_batch
from tasks.providers.openai.replies import batch_of
from tasks.stages.wire.billing import is_billing_refusal

ROWS = {"a": "succeeded"}


def cells(table: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    return [(name, word) for name, words in table.items() for word in words]


def armed(stage: Stage, op: str, word: str, table: dict[str, dict[str, Any]]) -> None:
    """Let the next call be refused so."""
    if isinstance(stage, EmbeddedStage):
        stage.fault(op, f"unpaid:{word}")
    else:
        status, body = table[stage.settings.name][word]
        stage.fault(op, f"status:{status}", body=body)


def raised(call: Callable[[], Any]) -> NightmailError:
    with pytest.raises(NightmailError) as caught:
        call()
    return caught.value


@pytest.fixture
def stage(request: pytest.FixtureRequest, stages: Callable[[str], Stage]) -> Stage:
    made = stages(request.param)
    made.renew()
    return made


@pytest.mark.parametrize(("stage", "word"), cells(REFUSED), indirect=["stage"])
def test_an_account_that_cannot_pay_is_told_and_nothing_was_created(stage: Stage, word: str) -> None:
    before = stage.created()
    submission = stage.submission(ROWS)
    armed(stage, "create", word, REFUSED)
    assert type(raised(lambda: stage.create(submission))) is BillingRefused
    assert stage.created() == before


@pytest.mark.parametrize("op", ["upload", "retrieve", "content"])
@pytest.mark.parametrize("stage", REFUSED, indirect=True)
def test_it_is_told_at_every_call(stage: Stage, op: str) -> None:
    if op == "upload" and not stage.uploads:
        pytest.skip("requests go with the batch")
    word = next(iter(REFUSED[stage.settings.name]))
    batch = stage.ended(stage.post(ROWS).id)
    calls: dict[str, Callable[[], Any]] = {
        "upload": lambda: stage.post(ROWS, key="abc/1/2"),
        "retrieve": lambda: stage.service.retrieve(batch.id),
        "content": lambda: stage.answers(batch),
    }
    begun = "begin" if op == "upload" and stage.settings.name == "gemini" else op
    armed(stage, begun, word, REFUSED)
    assert type(raised(calls[op])) is BillingRefused


@pytest.mark.parametrize(("stage", "word"), cells(PASSING), indirect=["stage"])
def test_a_rate_limit_in_the_same_words_is_none(stage: Stage, word: str) -> None:
    submission = stage.submission(ROWS)
    armed(stage, "create", word, PASSING)
    error = raised(lambda: stage.create(submission))
    assert isinstance(error, TransientError)
    assert not isinstance(error, BillingRefused | LostReply)


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached", "Arrearage"])
def test_a_batch_that_failed_for_it_has_one_code_and_the_services_own_word(code: str) -> None:
    errors = {"data": [{"code": code, "message": "Pay.", "line": None}]}
    batch = batch_of({"id": "b", "status": "failed", "errors": errors})
    assert (batch.error_code, batch.error_message) == (BillingRefused.CODE, f"{code}: Pay.")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 8, "message": "Your prepayment credits are depleted."}, BillingRefused.CODE),
        ({"code": 7, "message": "No.", "details": [{"reason": "BILLING_DISABLED"}]}, BillingRefused.CODE),
        ({"code": 8, "message": "Quota exceeded."}, "token_limit_exceeded"),
    ],
)
def test_an_operation_that_failed_for_it_too(error: dict[str, Any], code: str) -> None:
    operation = {
        "name": "batches/b",
        "done": True,
        "error": error,
        "metadata": {"state": "BATCH_STATE_FAILED"},
    }
    assert service_batch(operation).error_code == code


@pytest.mark.parametrize(
    ("code", "message", "status", "refused"),
    [
        (None, None, 402, True),
        ("insufficient_balance", "Insufficient Balance", None, True),
        (
            None,
            "Your account org-1 has been suspended, please check your plan and billing details",
            429,
            True,
        ),
        (
            None,
            "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
            400,
            True,
        ),
        (None, "Your project has exceeded its monthly spending cap.", 429, True),
        ("rate_limit_exceeded", "Rate limit reached for requests per minute", 429, False),
        ("server_error", "billing hard limit lookup failed", 500, False),
        ("invalid_api_key", "Incorrect API key provided", 401, False),
        ("token_limit_exceeded", "Enqueued token limit reached for m", None, False),
    ],
)
def test_what_is_a_billing_refusal(
    code: str | None, message: str | None, status: int | None, refused: bool
) -> None:
    assert is_billing_refusal(code, message, status) is refused
