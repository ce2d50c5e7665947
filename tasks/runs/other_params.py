"""Which changes of a finished run's job a retry takes: the params with which its unanswered rows are asked again."""

from __future__ import annotations

from collections.abc import Sequence

from configs.errors import ConfigError
from configs.job import Job
from configs.load import identity
from configs.providers.billing import has_other_rates
from tasks.ledger.records import RunRecord
from tasks.ledger.transitions import RunState
from tasks.runs.request import ResolvedRun

_PARAMS = "prompt.params"
# Of the answers' number, type and size; of the way in which a schema is asked for.
_SHAPING = (
    "n",
    "dimensions",
    "encoding_format",
    "response_format",
    "text.format",
    "tools",
    "output_config.format",
)


def asks_with_other_params(resolved: ResolvedRun, latest: RunRecord, changed: Sequence[str]) -> bool:
    """Whether nothing but `prompt.params` differs, and the run's unanswered rows are, or are being, asked with those.

    ConfigError for params by which answers would be read or priced in another way than those that are kept.
    """
    if not all(name == _PARAMS or name.startswith(f"{_PARAMS}.") for name in changed):
        return False
    last = Job.model_validate(latest.spec)
    if identity(last) == identity(resolved.job):  # as they were asked last
        return True
    if not resolved.retry or resolved.redo or latest.state is not RunState.FINISHED:
        return False
    shaping = [
        name for name in _SHAPING if any(f"{each}.".startswith(f"{_PARAMS}.{name}.") for each in changed)
    ]
    if shaping:
        raise ConfigError(
            f"{latest.title}: {_PARAMS}.{shaping[0]} says what answers look like, and those that are kept have no other;"
            " undo that, give another --key, or --redo to replace the output"
        )
    if has_other_rates(last.prompt) != has_other_rates(resolved.job.prompt):
        raise ConfigError(
            f"{latest.title}: with these params answers have another price than those that are kept;"
            " undo that, give another --key, or --redo to replace the output"
        )
    return True


def retry_hint(changed: Sequence[str], *, finished: bool) -> str:
    """What to add to the refusal of a changed job where --retry would take it; empty elsewhere."""
    if not finished or not all(name.startswith(_PARAMS) for name in changed):
        return ""
    return "; --retry asks with it the rows that retry.on names"
