"""`nightmail stats`: the same figures in every format, for the range that is asked for."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from rigs.command_line import nightmail
from rigs.past_batches import MIDNIGHT, Past, remember
from rigs.workspace import Workspace
from tasks.usage.document import Usage
from tasks.usage.table import COLUMNS

LONG_AGO = ("--from", "2026-11-01", "--to", "2026-11-30")


@pytest.fixture
def ledger(workspace: Workspace) -> Workspace:
    """Three batches of two jobs, two of them on one day."""
    remember(
        workspace.home.ledger_url,
        [
            Past(values={"cost_usd": 0.25}),
            Past("notes", values={"cost_usd": None}, reused={"rows": 3, "saved_usd": 0.5}),
            Past(start=MIDNIGHT + timedelta(days=1)),
        ],
    )
    return workspace


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints."""
    assert nightmail("stats", *words) == 0
    return capsys.readouterr().out


def test_every_format_tells_the_same(ledger: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    usage = Usage.model_validate(json.loads(told(capsys, *LONG_AGO, "--by", "job", "--json")))
    assert [(group.name, group.figures.requests) for group in usage.groups] == [
        ("letters", 20),
        ("notes", 10),
    ]
    assert (usage.total.requests, usage.total.known_cost_usd, usage.total.cost_usd) == (30, 0.75, None)
    text = told(capsys, *LONG_AGO, "--by", "job", "--csv")
    assert text.splitlines()[0] == ",".join(COLUMNS)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["by"], row["name"], row["requests"]) for row in rows] == [
        ("job", "letters", "20"),
        ("job", "notes", "10"),
        ("all", "", "30"),
    ]
    assert [(row["cost_usd"], row["known_cost_usd"]) for row in rows] == [
        ("0.75", "0.75"),
        ("", "0.0"),
        ("", "0.75"),
    ]
    table = told(capsys, *LONG_AGO, "--by", "job").splitlines()
    assert table[0].split("\t")[:5] == ["job", "requests", "failed", "rate", "cost"]
    assert [line.split("\t")[:5] for line in table[1:]] == [
        ["letters", "20", "0", "0.0%", "$0.7500"],
        ["notes", "10", "0", "0.0%", "unknown"],
        ["all", "30", "0", "0.0%", "over $0.7500"],
    ]
    scraped = told(capsys, "--prometheus")
    assert 'nightmail_requests_total{job="letters",provider="openai",model="m",account="acc"} 20' in scraped


def test_what_is_unknown_is_said_on_stderr(ledger: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert nightmail("stats", *LONG_AGO) == 0
    said = capsys.readouterr().err
    assert "nightmail: 2026-11-01 00:00 to 2026-12-01 00:00 UTC\n" in said
    assert "nightmail: the cost of 1 batch is unknown" in said


@pytest.mark.parametrize(
    ("words", "requests"),
    [
        (("--from", "2026-11-23"), 10),
        (("--to", "2026-11-22"), 20),
        (("--from", "2026-11-22", "--to", "2026-11-22", "--job", "notes"), 10),
        (("--from", "2026-11-21", "--to", "2026-11-21", "--zone", "America/New_York"), 20),
        (("--from", "2020-01-01", "--to", "2020-12-31"), 0),
    ],
)
def test_a_range_is_days_of_the_zone(
    ledger: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], requests: int
) -> None:
    assert json.loads(told(capsys, *words, "--json"))["total"]["requests"] == requests


def test_without_a_range_it_is_the_last_thirty_days(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    ages = (timedelta(hours=1), timedelta(days=29), timedelta(days=31))
    remember(workspace.home.ledger_url, [Past(start=now - age, lasted=0) for age in ages])
    assert json.loads(told(capsys, "--json"))["total"]["batches"] == 2
    assert json.loads(told(capsys, "--since", "2h", "--json"))["total"]["batches"] == 1


def test_without_a_ledger_all_is_zero_and_none_is_made(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(told(capsys, "--json"))["total"]["requests"] == 0
    assert told(capsys, "--csv").count("\n") == 2
    assert "# TYPE nightmail_requests_total counter" in told(capsys, "--prometheus")
    assert not (workspace.folder / "home").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "30"), "--since: '30' is no duration"),
        (("--since", "3d", "--from", "2026-11-01"), "--since and --from or --to: give one or the other"),
        (("--from", "2026-11-02", "--to", "2026-11-01"), "--to: 2026-11-01 is before --from 2026-11-02"),
        (("--zone", "Mars"), "--zone: unknown time zone 'Mars'"),
        (("--job", "nope"), "--job: the ledger has no run of a job named 'nope'; it has letters, notes"),
        (("--job", "nope", "--prometheus"), "--job: the ledger has no run"),
        (("--prometheus", "--by", "day"), "--prometheus: its counters hold all that the ledger knows"),
        (("--csv", "--prometheus"), "--csv and --prometheus: give one of them"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    ledger: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert nightmail("stats", *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"nightmail: {said}")
    assert printed.err.count("\n") == 1
