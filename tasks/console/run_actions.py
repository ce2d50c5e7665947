"""What can be done with a run: offered on its page, confirmed on one of its own, and then done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from configs.errors import ConfigError, NightmailError
from configs.job import Job
from configs.request import RunRequest
from configs.trials import is_trial, key_without_mark
from tasks.console.context import Actions, Console, console_of, needs_actions
from tasks.console.outcomes import Done, Outcome
from tasks.console.render import page
from tasks.console.standing import why_approval
from tasks.ledger.leases import is_held
from tasks.ledger.listing import RunLine
from tasks.ledger.records import RunRecord
from tasks.ledger.transitions import RunState
from tasks.runs.receipts import receipt_of
from tasks.stages.report.formatting import count_with_noun
from tasks.stages.report.receipt import Receipt
from tasks.storage.job_files import load_job_file, read_job_text


@dataclass(frozen=True)
class Offer:
    """An action that fits a run as it stands: its name in the address, its button, what it does, and its command."""

    name: str
    button: str
    effect: str
    command: str


def offers(run: RunRecord, line: RunLine, console: Console) -> list[Offer]:
    """The actions that fit the run now."""
    return list(_offers(run, line, console))


def _offers(run: RunRecord, line: RunLine, console: Console) -> Iterator[Offer]:
    title = f"{run.job}/{run.key}"
    if dear := why_approval(run):
        effect = f"{dear[0].upper()}{dear[1:]}. Approved, it posts at its next look; where no worker wakes it, resume it then."
        yield Offer("approve", "Approve", effect, f"nightmail approve {title}")
    if run.state is RunState.FINISHED:
        receipt = receipt_of(run)
        if receipt is not None and receipt.retryable:
            effect = _retry_effect(receipt)
            yield from _with_job_file("retry", "Retry unanswered", effect, run, console)
        return
    if not is_held(run, console.clock.now()):
        effect = "It goes on where it stopped. Nothing that was posted is posted again."
        yield from _with_job_file("resume", "Resume", effect, run, console)
    if run.state is not RunState.CANCELLED:
        open_requests = count_with_noun(line.open_requests, "request is", "requests are")
        effect = (
            f"Its open batches are cancelled at the provider; what they answered is kept. {open_requests} in them."
            if line.open_requests
            else "It posts nothing more. It has no open batches."
        )
        yield Offer("cancel", "Cancel", effect, f"nightmail cancel {title}")


def _retry_effect(receipt: Receipt) -> str:
    rows = count_with_noun(receipt.retryable, "row is", "rows are")
    others = max(0, receipt.rows.unanswered - receipt.retryable)
    fatal = f" {others:,} more without an answer would fail in the same way." if others else ""
    return f"{rows} posted again, and paid for.{fatal}"


def _with_job_file(name: str, button: str, effect: str, run: RunRecord, console: Console) -> Iterator[Offer]:
    """The offer of a run of the same job file; none when the file is not among the console's."""
    request = request_for(run, console, retry=name == "retry")
    if request is not None:
        yield Offer(name, button, effect, request.command(limit=request.limit))


def request_for(run: RunRecord, console: Console, *, retry: bool) -> RunRequest | None:
    """The request that goes on with the run, by the job file of its name; None when there is no such file."""
    try:
        files = [*console.jobs.values()]
    except NightmailError:  # as the page Jobs says
        return None
    for path in files:
        try:
            # A job's name stands in its file as it is: only those that hold it are loaded, which takes milliseconds each.
            if run.job in read_job_text(RunRequest(path).job_path):
                job = load_job_file(RunRequest(path).job_path)
                if job.name == run.job:
                    return _request(path, job, run, retry=retry)
        except (NightmailError, OSError, ValueError):  # the page Jobs says what is wrong with it
            continue
    return None


def _request(path: str, job: Job, run: RunRecord, *, retry: bool) -> RunRequest:
    """What differs from the job file in provider and model is asked for as it was."""
    provider, model = run.spec["provider"]["name"], run.spec["prompt"]["model"]
    key = key_without_mark(run.key)
    return RunRequest(
        path,
        date=run.logical_date,
        key="" if key == run.logical_date.isoformat() else key,
        provider=None if provider == job.provider.name else provider,
        model="" if model == job.prompt.model else model,
        limit=run.spec["source"].get("limit") or 0 if is_trial(run.key) else 0,
        retry=retry,
    )


def confirm_page(request: Request) -> Response:
    """Ask whether the action is meant."""
    console, run, offer = _asked(request)
    needs_actions(console)
    return page(request, "confirm", run=run, offer=offer)


def act(request: Request, _form: FormData) -> Outcome:
    """Do what was confirmed."""
    console, run, offer = _asked(request)
    done = _do(needs_actions(console), offer, run, console)
    return Outcome(f"{offer.button}: {run.title}", done, back=f"/runs/{run.id}")


def _asked(request: Request) -> tuple[Console, RunRecord, Offer]:
    console = console_of(request)
    ledger, run = console.run(request.path_params["run"])
    (line,) = ledger.listing.lines_of([run])
    name = request.path_params["action"]
    for offer in offers(run, line, console):
        if offer.name == name:
            return console, run, offer
    raise ConfigError(
        f"{run.title}: is {run.state}, and cannot be asked to {name}; its page says what can be done"
    )


def _do(actions: Actions, offer: Offer, run: RunRecord, console: Console) -> Done:
    if offer.name == "approve":
        return actions.approve(run)
    if offer.name == "cancel":
        return actions.cancel(run)
    request = request_for(run, console, retry=offer.name == "retry")
    assert request is not None  # it was offered
    return actions.run(request)
