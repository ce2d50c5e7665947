"""What `doctor --deep` provokes: at a service that keeps the protocol, and at those that each break one part of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from fakes.openai_fake import KEY, OpenAIFake
from tasks.diagnostics.conformance import FEATURES, Honoured, conformance
from tasks.diagnostics.facts import Fact, Grade
from tasks.diagnostics.fault_probe import BATCHES, FILES, ROWS, FaultProbe
from tasks.diagnostics.probe_request import ProbeRequest
from tasks.providers.openai.raw_calls import raw_calls_at

ENDPOINT = "/v1/chat/completions"
PROVOKED = {
    "wrong key",
    "unknown ids",
    "lost reply",
    "equal create",
    "list pages",
    "unknown endpoint",
    "invalid line",
    "every row once",
    "order",
    "same download",
    "cancel open",
    "cancel ended",
    "short window",
    "cut rows",
    "deleted is gone",
}


@pytest.fixture(scope="module")
def _fake() -> Iterator[OpenAIFake]:
    fake = OpenAIFake()
    yield fake
    fake.close()


@pytest.fixture
def fake(_fake: OpenAIFake) -> OpenAIFake:
    """The service as new; its batches end when they are looked at, and it takes windows of seconds."""
    _fake.forget()
    _fake.hold = False
    _fake.odd = {"short_windows"}
    return _fake


calls_at = functools.cache(raw_calls_at)  # building a client takes longer than most calls


def probed(
    fake: OpenAIFake, *, key: str | None = KEY, wait: Callable[[float], bool] = lambda _: True
) -> dict[str, Fact]:
    """The facts by name; waiting takes no time."""
    told: list[Fact] = []
    raw, losing = (calls_at(fake.url, key, lose_replies=loses) for loses in (False, True))
    stranger = calls_at(fake.url, "wrong") if key else None
    probe = FaultProbe(raw, losing, stranger, ProbeRequest("m", ENDPOINT), told.append, wait)
    probe.run()
    names = [fact.name for fact in told]
    assert len(names) == len(set(names))
    assert not any(KEY in fact.detail for fact in told)
    return {fact.name: fact for fact in told}


def honoured(facts: dict[str, Fact]) -> dict[str, str]:
    """What the table says of the checks that were made."""
    return {line.check: line.honoured for line in conformance(facts.values()) if line.check in facts}


def test_a_service_that_keeps_the_protocol_honours_all_of_it(fake: OpenAIFake) -> None:
    facts = probed(fake)
    assert honoured(facts) == dict.fromkeys(PROVOKED, "yes")
    assert "line 2" in facts["invalid line"].detail


def test_no_more_is_posted_than_was_said_and_nothing_is_left(fake: OpenAIFake) -> None:
    fake.odd |= {"any_endpoint", "any_line"}
    probed(fake)
    assert fake.seen["upload"] == FILES
    assert len(fake.batches) == BATCHES
    rows = [fake.bytes[batch["input_file_id"]].count(b'"model"') for batch in fake.batches.values()]
    assert sum(rows) == ROWS
    assert fake.files == {}


def test_the_reply_is_lost_after_the_batch_was_made(fake: OpenAIFake) -> None:
    fake.odd.add("one_of_equals")
    lost = probed(fake)["lost reply"].detail.split()[0]
    assert lost in fake.batches


BROKEN_BY = {
    "any_key": "wrong key",
    "one_of_equals": "equal create",
    "after_ignored": "list pages",
    "any_endpoint": "unknown endpoint",
    "any_line": "invalid line",
    "doubled": "every row once",
    "reversed": "order",
    "no_cancel": "cancel open",
    "cancels_ended": "cancel ended",
    "any_window": "short window",
    "no_cut_rows": "cut rows",
    "keeps_deleted": "deleted is gone",
}
"""Checks by the deviation that each of them finds."""

TOGETHER = [
    {"any_key", "reversed", "cancels_ended", "any_window", "keeps_deleted"},
    {"any_endpoint", "any_line", "doubled", "no_cut_rows"},
    {"one_of_equals", "no_cancel", "after_ignored"},
]
assert set().union(*TOGETHER) == set(BROKEN_BY)


@pytest.mark.parametrize("odd", TOGETHER)
def test_what_a_service_breaks_is_told_and_no_reason_to_stay_away(fake: OpenAIFake, odd: set[str]) -> None:
    fake.odd = odd if "any_window" in odd else odd | {"short_windows"}
    facts = probed(fake)
    broken = {check for check, said in honoured(facts).items() if said == Honoured.NO}
    assert broken == {BROKEN_BY[each] for each in odd}
    assert Grade.BAD not in {fact.grade for fact in facts.values()}


def test_a_list_that_begins_with_the_oldest_is_told(fake: OpenAIFake) -> None:
    fake.odd.add("oldest_first")
    calls = calls_at(fake.url, KEY)
    fake.skew = timedelta(hours=-1)  # the batches of one probe may all be of one second
    calls.create(input_file_id="file-x", endpoint=ENDPOINT, completion_window="24h")
    fake.skew = timedelta(0)
    assert honoured(probed(fake))["list pages"] == Honoured.NO


def test_a_batch_that_the_list_does_not_show_could_be_paid_twice(fake: OpenAIFake) -> None:
    fake.odd |= {"no_metadata", "no_input_id"}
    facts = probed(fake)
    assert facts["lost reply"].grade is Grade.BAD
    assert honoured(facts)["lost reply"] == Honoured.NO
    assert "equal create" not in facts


def test_a_batch_without_metadata_is_found_by_its_file(fake: OpenAIFake) -> None:
    fake.odd.add("no_metadata")
    assert honoured(probed(fake))["lost reply"] == Honoured.YES


def test_what_could_not_be_seen_is_unknown(fake: OpenAIFake) -> None:
    fake.odd = set()
    facts = probed(fake, key=KEY, wait=lambda _: False)
    unknown = {check for check, said in honoured(facts).items() if said == Honoured.UNKNOWN}
    assert {"every row once", "short window"} <= unknown


def test_a_service_that_asks_to_wait_has_refused_nothing(fake: OpenAIFake) -> None:
    fake.fault("create", "drop_reply")
    fake.fault("create", "status:429", times=100)
    said = honoured(probed(fake))
    limited = ("equal create", "every row once", "unknown endpoint", "invalid line", "short window")
    assert {check: said[check] for check in limited} == dict.fromkeys(limited, Honoured.UNKNOWN)
    assert said["lost reply"] == Honoured.YES


def test_a_file_that_is_refused_ends_the_probe(fake: OpenAIFake) -> None:
    fake.fault("upload", "status:413")
    facts = probed(fake)
    assert facts["upload"].grade is Grade.BAD
    assert fake.batches == {}


def test_calls_that_break_are_told_and_end_nothing(fake: OpenAIFake) -> None:
    fake.fault("content", "status:500", times=1_000)
    fake.fault("cancel", "status:500", times=1_000)
    facts = probed(fake)
    broken = {check for check, said in honoured(facts).items() if said == Honoured.NO}
    assert broken == {"unknown ids", "same download", "cut rows", "cancel ended", "deleted is gone"}
    assert fake.files == {}


def test_the_table_has_a_line_for_every_provoked_fault() -> None:
    names = [feature.check for feature in FEATURES]
    assert set(names) >= PROVOKED
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ([], Honoured.UNKNOWN),
        ([Fact("order", Grade.OK, "")], Honoured.YES),
        ([Fact("order", Grade.ODD, "")], Honoured.NO),
        ([Fact("order", Grade.BAD, ""), Fact("order", Grade.OK, "")], Honoured.NO),
        ([Fact("order", Grade.NOTE, "")], Honoured.UNKNOWN),
        ([Fact("order", Grade.NOTE, "", honoured=False)], Honoured.NO),
    ],
)
def test_a_line_says_what_its_facts_say(facts: list[Fact], said: Honoured) -> None:
    (line,) = (line for line in conformance(facts) if line.check == "order")
    assert line.honoured is said
    assert bool(line.nightmail) is (said is not Honoured.YES)
