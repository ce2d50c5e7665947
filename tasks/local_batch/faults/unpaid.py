"""How OpenAI refuses an account that cannot pay: (status, type, code, message) by code, as its users reported them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_REQUEST: Final = "invalid_request_error"


class Unpaid(NamedTuple):
    """One refusal."""

    status: int
    type: str
    code: str | None
    message: str

    @property
    def body(self) -> dict[str, Any]:
        """The reply that says so."""
        return {"error": {"message": self.message, "type": self.type, "param": None, "code": self.code}}


UNPAID: Final = {
    "insufficient_quota": Unpaid(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "billing_hard_limit_reached": Unpaid(
        400, _REQUEST, "billing_hard_limit_reached", "Billing hard limit has been reached"
    ),
    "billing_not_active": Unpaid(
        429,
        "billing_not_active",
        "billing_not_active",
        "Your account is not active, please check your billing details on our website.",
    ),
    "account_deactivated": Unpaid(
        401,
        _REQUEST,
        "account_deactivated",
        "The OpenAI account associated with this API key has been deactivated.",
    ),
    "access_terminated": Unpaid(
        403, "access_terminated", None, "Your access was terminated due to violation of our policies."
    ),
}
