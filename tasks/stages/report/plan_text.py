"""Format a plan as text: Markdown for Prefect, a few lines for a terminal."""

from __future__ import annotations

from configs import trials
from configs.foreign_text import printable
from tasks.stages.report.budget_state import budget_lines
from tasks.stages.report.estimate import CostRange
from tasks.stages.report.estimate_text import answers_text, cost_lines, reserved_text
from tasks.stages.report.formatting import count_with_noun, markdown_code, markdown_text
from tasks.stages.report.plan import Plan


def reuse_text(plan: Plan) -> str:
    """`9,900,112 reused, 99,888 to post, $1.20 instead of $119.00`; empty for a job without `reuse`."""
    if plan.reuse is None:
        return ""
    cost, whole = _most(plan.estimate.total_usd), _most(plan.reuse.total_usd)
    text = f"{plan.reuse.rows:,} reused, {plan.requests:,} to post"
    return f"{text}, {cost} instead of {whole}" if cost and whole else text


def duplicates_text(plan: Plan) -> str:
    """How many rows ask what another row asks, and what that costs; empty when none does."""
    if plan.duplicates is None:
        return ""
    text = f"{count_with_noun(plan.duplicates.rows, 'row asks', 'rows ask')} what another row asks"
    if plan.duplicates.asked_once:
        return f"{text}, which is asked once in each chunk"
    usd = _most(plan.duplicates.usd)
    return f"{text}, for {usd}" if usd else text


def deadline_text(plan: Plan) -> str:
    """When real-time calls would be made, for how many rows and at which price; empty for a job without `deadline`."""
    deadline = plan.deadline
    if deadline is None:
        return ""
    rows = None if deadline.max_rows is None else count_with_noun(deadline.max_rows, "row", "rows")
    usd = None if deadline.max_usd is None else f"${deadline.max_usd:,.2f}"
    price = f"price: {deadline.price_source}" if deadline.price_source else "unknown price"
    if deadline.all_usd is not None:
        price = f"{price}; all rows would be up to ${deadline.all_usd:,.4f}"
    most = " and ".join(filter(None, (rows, usd)))
    return (
        f"{deadline.at:%Y-%m-%d %H:%M %Z}; then {deadline.lane} real-time calls for at most {most} ({price})"
    )


def _most(cost: CostRange) -> str:
    """The upper end where it is known, else the lower; empty where nothing is, or nothing costs."""
    if cost.high:
        return f"${cost.high:,.4f}"
    return f"${cost.low:,.4f} or more" if cost.low else ""


def _reserved(plan: Plan) -> str:
    """What the run takes of its budgets until it is done; empty for a job without any."""
    return reserved_text(plan.estimate) if plan.budgets else ""


def _group_lines(plan: Plan) -> list[str]:
    """What each model and endpoint of a file of requests takes; nothing where there is one alone."""
    if len(plan.groups) < 2:
        return []
    return [
        f"{printable(group.model)} at {group.endpoint}: {group.requests:,} requests in"
        f" {count_with_noun(group.batches, 'batch', 'batches')}, about {group.estimate.prompt_tokens:,} tokens,"
        f" {_most(group.estimate.total_usd) or ('free' if group.estimate.cost_usd == 0 else 'unknown price')}"
        for group in plan.groups
    ]


def plan_as_markdown(plan: Plan) -> str:
    """A plan as Markdown, for a Prefect artifact."""
    facts = {
        "rows": f"{plan.rows:,}, of which {plan.skipped:,} are skipped",
        "batches": f"{plan.batches:,} at {plan.provider}, {plan.model}",
        "requests": f"{plan.requests:,} in {plan.bytes:,} bytes",
        "prompt tokens": f"about {plan.estimate.prompt_tokens:,} ({plan.estimate.method})",
        "answers": answers_text(plan.estimate),
        **({"reuse": reuse} if (reuse := reuse_text(plan)) else {}),
        **({"duplicates": duplicates} if (duplicates := duplicates_text(plan)) else {}),
        **dict(line.split(maxsplit=1) for line in cost_lines(plan.estimate)),
        **({"deadline": deadline} if (deadline := deadline_text(plan)) else {}),
        **({"budgets": "; ".join(budget_lines(plan.budgets))} if plan.budgets else {}),
        **({"reserved": reserved} if (reserved := _reserved(plan)) else {}),
        "source": markdown_code(plan.source),
        "output": markdown_code(plan.output),
    }
    return "\n".join(
        [
            f"## {plan.job} {plan.key}",
            "Nothing was written or posted.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {text} |" for name, text in facts.items()),
            *(f"| group | {markdown_text(line)} |" for line in _group_lines(plan)),
            *(f"| skipped: {markdown_text(reason)} | {count:,} |" for reason, count in plan.skips.items()),
            *(f"| note | {markdown_text(note)} |" for note in plan.notes),
            "",
            "First prompt:",
            "",
            *(f"    {printable(line)}" for line in plan.first_prompt.splitlines()),
        ]
    )


def plan_as_text(plan: Plan) -> str:
    """A plan in a few lines, for a terminal."""
    estimate = plan.estimate
    return "\n".join(
        [
            f"{plan.job} {plan.key}: {plan.rows:,} rows → {count_with_noun(plan.batches, 'batch', 'batches')} at {plan.provider}",
            f"  source   {plan.source}",
            f"  output   {plan.output}",
            f"  model    {plan.model} at {plan.endpoint}",
            f"  requests {plan.requests:,} in {plan.bytes:,} bytes; {plan.skipped:,} rows skipped",
            f"  tokens   about {estimate.prompt_tokens:,} in the prompts ({estimate.method})",
            f"  answers  {answers_text(estimate)}",
            *cost_lines(estimate),
            *(f"  group    {line}" for line in _group_lines(plan)),
            *([f"  deadline {deadline}"] if (deadline := deadline_text(plan)) else []),
            *(f"  spent    {line}" for line in budget_lines(plan.budgets)),
            *([f"  reserved {reserved}"] if (reserved := _reserved(plan)) else []),
            *([f"  reuse    {reuse}"] if (reuse := reuse_text(plan)) else []),
            *([f"  repeated {duplicates}"] if (duplicates := duplicates_text(plan)) else []),
            *(f"  skipped  {count:,} × {printable(reason)}" for reason, count in plan.skips.items()),
            *(f"  note     {printable(note)}" for note in plan.notes),
            "",
            "First prompt:",
            *map(printable, plan.first_prompt.split("\n")),
            "",
            f"Nothing was written or posted. To do it: {plan.command}",
            *([f"To try {trials.ROWS} rows first: {plan.trial_command}"] if plan.trial_command else []),
        ]
    )
