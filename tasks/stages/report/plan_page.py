"""A dry run's plan, as a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plan_as_markdown(plan: Mapping[str, Any]) -> str:
    """A dry run's plan as a Prefect artifact."""
    cost = plan["prompt_cost_usd"]
    facts = {
        "rows": f"{plan['rows']:,}, of which {plan['skipped']:,} are skipped",
        "batches": f"{plan['chunks']:,} at {plan['provider']}, {plan['model']}",
        "requests": f"{plan['requests']:,} in {plan['bytes']:,} bytes",
        "prompt tokens": f"about {plan['prompt_tokens']:,} ({plan['tokens_method']})",
        "price of the prompts": "unknown price" if cost is None else f"about ${cost:,.4f}",
        "source": f"`{plan['source']}`",
        "output": f"`{plan['output']}`",
    }
    return "\n".join(
        [
            f"## {plan['job']} {plan['key']}",
            "Nothing was written or posted.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {text} |" for name, text in facts.items()),
            *(f"| skipped: {reason} | {count:,} |" for reason, count in plan["skips"].items()),
            "",
            "First prompt:",
            "",
            *(f"    {line}" for line in plan["first_prompt"].splitlines()),
        ]
    )
