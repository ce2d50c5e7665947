"""Which refusals mean that the account cannot pay, at whichever provider: waiting a minute changes nothing, and no request is
at fault."""

from __future__ import annotations

import re
from typing import Final

from configs.errors import BillingRefused

_PAYMENT_REQUIRED: Final = 402
_CODES: Final = frozenset(
    {
        BillingRefused.CODE,
        # OpenAI, Azure: https://platform.openai.com/docs/guides/error-codes
        *(
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_limit_user_error",
            "billing_not_active",
        ),
        *("access_terminated", "account_deactivated", "account_suspended", "readonlydisabledsubscription"),
        "billing_error",  # Anthropic: https://platform.claude.com/docs/en/api/errors
        "billing_disabled",  # Google, as the reason in google.rpc.ErrorInfo
        # Alibaba: https://www.alibabacloud.com/help/en/model-studio/error-code
        *("arrearage", "allocationquota.freetieronly", "prepaidbilloverdue", "postpaidbilloverdue"),
        "commoditynotpurchased",
        # Of services that speak OpenAI's protocol.
        *("insufficient_balance", "insufficient_credits", "insufficient_funds", "payment_required"),
    }
)
_TEXTS: Final = re.compile(
    r"credit balance is too low|prepay\w* credits? \w+ depleted|credits? (are|is|have been) (depleted|exhausted)"
    r"|billing hard limit|requires? billing to be enabled|billing (is|has been) (disabled|not enabled|not active)"
    r"|account is not active|account is in good standing|insufficient (balance|credits?|funds)|spending (limit|cap)"
    r"|specified api usage limits"
    r"|\b(account|organi[sz]ation|subscription)\b[^.]{0,60} (has been|is|was) (deactivated|disabled|suspended|terminated)",
    re.IGNORECASE,
)
# Alibaba and Google say "quota" of a rate as well, the former under OpenAI's code of an empty account.
_PASSING: Final = re.compile(r"allocated quota|rate.?limit|per (minute|day|second)", re.IGNORECASE)


def is_billing_refusal(code: str | None, message: str | None, http_status: int | None = None) -> bool:
    """Whether an error says that the account cannot pay. `code` is the provider's own, or the type or reason it gives."""
    if http_status == _PAYMENT_REQUIRED:
        return True
    text = message or ""
    if code is not None and code.lower() in _CODES:
        return code.lower() != "insufficient_quota" or _PASSING.search(text) is None
    return (http_status is None or http_status < 500) and _TEXTS.search(text) is not None
