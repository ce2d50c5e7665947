"""The alerts of deployments/prometheus-rules.yaml name metrics and labels that are scraped, and commands that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from flows.cli.main import app
from rigs.checkout import ROOT
from rigs.past_batches import Past, as_read
from tasks.usage.prometheus import exposition

_METRIC = re.compile(r"\bnightmail_\w+")
_GROUPED = re.compile(r"\bby \((\w+)\)")
_COMMAND = re.compile(r"\bnightmail (\w+)")


def rules() -> list[dict[str, Any]]:
    tree = yaml.safe_load((ROOT / "deployments" / "prometheus-rules.yaml").read_text())
    return [rule for group in tree["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_scraped_and_says_what_to_do(rule: dict[str, Any]) -> None:
    families = text_string_to_metric_families(exposition(*as_read([Past()])))
    labels_of = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    metrics = set(_METRIC.findall(rule["expr"]))
    assert metrics
    assert metrics <= set(labels_of)
    for label in _GROUPED.findall(rule["expr"]):
        assert all(label in labels_of[metric] for metric in metrics)
    assert rule["expr"].count("(") == rule["expr"].count(")")
    assert set(rule["annotations"]) == {"summary", "what_to_do"}
    commands = _COMMAND.findall(rule["annotations"]["what_to_do"])
    assert commands
    assert set(commands) <= set(app)


def test_the_page_names_every_alert() -> None:
    page = (ROOT / "deployments" / "README.md").read_text()
    assert [rule["alert"] for rule in rules()] == re.findall(r"^\| `(Nightmail\w+)` \|", page, re.MULTILINE)
