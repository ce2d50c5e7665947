"""Parse the receipts that the ledger stores as JSON."""

from __future__ import annotations

from pydantic import ValidationError

from configs.errors import IntegrityError
from tasks.ledger.records import RunRecord
from tasks.stages.report.receipt import Receipt


def receipt_of(run: RunRecord) -> Receipt | None:
    """The receipt of a finished run; None before that. IntegrityError for one that this version cannot read."""
    if run.receipt is None:
        return None
    try:
        return Receipt.model_validate(run.receipt)
    except ValidationError as error:
        (first_error, *_) = error.errors(include_url=False)
        key = ".".join(map(str, first_error["loc"]))
        raise IntegrityError(
            f"{run.title}: its receipt in the ledger cannot be read ({key}: {first_error['msg']});"
            " if a newer Nightmail wrote it, use that one"
        ) from error
