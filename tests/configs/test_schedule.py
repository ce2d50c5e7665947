"""When a job starts: what a cron expression may say, that Prefect understands it alike, and when it comes next."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from configs.errors import ConfigError
from configs.load import changes, identity, load_job
from configs.schedule import Schedule, next_start

NOW = datetime(2026, 11, 30, 12, 4, 45, tzinfo=UTC)  # a Monday
STARTS = 20
TREE = {
    "name": "n",
    "source": {"path": "rows.csv"},
    "prompt": {"model": "m", "user": "{{ a }}"},
    "output": {"path": "out"},
}


def job_file(folder: Path, schedule: object) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**TREE, "timezone": "Asia/Tokyo", "schedule": schedule}))
    return path


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "is no cron expression of five fields"),
        ("30 22 * *", "is no cron expression of five fields"),
        ("0 30 22 * * *", "is no cron expression of five fields"),
        ("@daily", "is no cron expression of five fields"),
        ("60 22 * * *", "Bad minute"),
        ("30 24 * * *", "Bad hour"),
        ("30 22 0 * *", "Bad day-of-month"),
        ("30 22 * 13 *", "Bad month"),
        ("30 22 * * 8", "Bad day-of-week"),
        ("30 22 * * monday", "Bad day-of-week"),
        ("30 22-20 * * *", "Bad hour"),
        ("*/0 * * * *", "Bad minute"),
        ("-1 * * * *", "Bad minute"),
        ("0 0 31 2,4 *", "Bad day-of-month"),
        ("0 0 31 2,4 fri", "Bad day-of-month"),
        # What Prefect refuses, or starts at other times.
        ("0 22 LW * *", "a Prefect server does not know LW; write L alone"),
        ("0 22 15,l * *", "a Prefect server does not know 15,L; write L alone"),
        ("0 0 * * 5L", "a Prefect server does not know 5L; write days of the week"),
        ("0 0 * * fri#2,mon", "a Prefect server does not know FRI#2,MON beside *; write # in each"),
        ("0 0 1 * fri#2", "a Prefect server does not know FRI#2 beside 1; write # in each"),
        (
            "0 0 */2 * 1",
            "*/2 beside 1 asks for both days, and a Prefect server starts on either; write * for one",
        ),
        (
            "0 0 1 * */2",
            "*/2 beside 1 asks for both days, and a Prefect server starts on either; write * for one",
        ),
        ("0 0 5,* * 1", "5,* beside 1 asks for both days"),
        ("0 0 * * 1/2", "1/2 in the day of the week has no end; write one"),
        ("0 5-5 * * *", "5-5 ends where it begins; write 5"),
        ("0 0 * nov-11/2 *", "nov-11/2 ends where it begins; write nov"),
        ("59/5 0 * * *", "59/5 ends where it begins; write 59"),
        ("0 0 */10 * *", "with */10, a Prefect server leaves out 1 March; write no day after the 28th"),
        ("0 0 1,30 2,3 sun", "with 1,30, a Prefect server leaves out 1 March"),
        ("0 0 */3 * *", "with */3, a Prefect server leaves out 1 March"),
    ],
)
def test_an_expression_that_cannot_be_is_one_line(cron: str, said: str, tmp_path: Path) -> None:
    file = job_file(tmp_path, {"cron": cron})
    with pytest.raises(ConfigError) as caught:
        load_job(file)
    text = str(caught.value)
    assert text.startswith(f"{file}: schedule.cron: {said}")
    assert "\n" not in text


def test_a_zone_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.timezone: unknown time zone 'Tokyo'"):
        load_job(job_file(tmp_path, {"cron": "30 22 * * *", "timezone": "Tokyo"}))


@pytest.mark.parametrize(
    "cron",
    [
        "30 22 * * *",
        "*/10 * * * *",
        "0 6-18/4 * * mon-fri",
        "15,45 3 1 * *",
        "0 0 29 feb *",
        "0 0 31 * *",
        "5 4 13 * fri",
        "59 23 * * 0,3",
        "0 12 * 1-3 7",
        "0 0 1 jan,JUL *",
        "0 0 L * *",
        "0 0 l * mon",
        "0 0 * * fri#2",
        "0 0 * 2-11 mon#1,7#5",
        "0 */24 * * *",
        "58/5 10/5 * * *",
        "0 0 */2 * *",
        "0 0 */5 3-11 *",
        "0 0 1-28/10 * *",
        "0 0 1,29,30 * *",
        "0 0 15,31 * *",
        "0 0 31 2,3 *",
        "0 0 1-31 * 1",
        "0 0 1-31/2 * 0-6/2",
        "0 0 * * */2",
        "0 0 * * 0-7",
        "0 0 * * fri-7/2",
        "0 0 1 */5 *",
        "*,5 1,* * 11,* *",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_prefect_understands_it_alike(cron: str, zone: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule as Sent
    from prefect.server.schemas.schedules import CronSchedule

    assert Sent(cron=cron, timezone=zone).cron == cron
    theirs = asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(STARTS, NOW))
    ours = [NOW]
    for _ in theirs:
        start = next_start(Schedule(cron=cron), zone, ours[-1])
        assert start
        ours.append(start)
    assert (ours[1:], len(theirs)) == (theirs, STARTS)


def test_the_zone_is_the_jobs_unless_it_has_its_own() -> None:
    assert next_start(Schedule(cron="30 22 * * *"), "Asia/Tokyo", NOW) == datetime(
        2026, 11, 30, 13, 30, tzinfo=UTC
    )
    elsewhere = Schedule(cron="30 22 * * *", timezone="UTC")
    assert next_start(elsewhere, "Asia/Tokyo", NOW) == datetime(2026, 11, 30, 22, 30, tzinfo=UTC)
    assert next_start(Schedule(cron="30 22 * * *", active=False), "UTC", NOW) is None


def test_another_schedule_is_no_other_job(tmp_path: Path) -> None:
    before = identity(load_job(job_file(tmp_path, None)))
    for schedule in ({"cron": "30 22 * * *"}, {"cron": "0 5 * * *", "active": False}):
        assert changes(before, identity(load_job(job_file(tmp_path, schedule)))) == []
