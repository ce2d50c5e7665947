"""How each vendor refuses an account that cannot pay: (status, body) by name, and what only looks like it."""

from __future__ import annotations

from typing import Any, Final

from tasks.local_batch.faults.unpaid import UNPAID

Refusals = dict[str, tuple[int, Any]]


def _openai(code: str, status: int, message: str) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": code, "param": None, "code": code}}


def _anthropic(kind: str, status: int, message: str) -> tuple[int, Any]:
    return status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _google(status: int, name: str, message: str, reason: str | None = None) -> tuple[int, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    details = {"details": [info]} if reason else {}
    return status, {"error": {"code": status, "message": message, "status": name, **details}}


_PLAN: Final = "You exceeded your current quota, please check your plan and billing details."
REFUSED: Final[dict[str, Refusals]] = {
    "openai": {code: (refusal.status, refusal.body) for code, refusal in UNPAID.items()},
    "azure": {
        "quota": _openai("insufficient_quota", 429, _PLAN),
        "subscription": _openai("ReadOnlyDisabledSubscription", 403, "The subscription is disabled."),
    },
    "alibaba": {
        "arrearage": _openai(
            "Arrearage", 400, "Access denied, please make sure your account is in good standing."
        ),
        "free": _openai(
            "AllocationQuota.FreeTierOnly", 403, "The free tier of the model has been exhausted."
        ),
        "overdue": _openai("PostpaidBillOverdue", 429, "The postpaid bill is overdue."),
    },
    "anthropic": {
        "billing": _anthropic("billing_error", 402, "There is an issue with your billing."),
        "credit": _anthropic(
            "invalid_request_error",
            400,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
        ),
        "disabled": _anthropic("permission_error", 403, "This organization has been disabled."),
    },
    "gemini": {
        "billing": _google(
            403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", "BILLING_DISABLED"
        ),
        "prepay": _google(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
    },
}
PASSING: Final[dict[str, Refusals]] = {
    "azure": {"rate": _openai("429", 429, "Requests to the Batches API have exceeded the rate limit.")},
    "alibaba": {"rate": _openai("insufficient_quota", 429, "Allocated quota exceeded, please increase it.")},
    "anthropic": {"rate": _anthropic("rate_limit_error", 429, "This request would exceed your rate limit.")},
    "gemini": {"rate": _google(429, "RESOURCE_EXHAUSTED", _PLAN)},
}
