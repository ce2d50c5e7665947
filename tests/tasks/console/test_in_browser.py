"""The console in a browser: every page at three widths in light and dark, by mouse, by keyboard, and without script."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from configs.load import load_job
from rigs.console import Noted, console_over, fill, served
from rigs.workspace import Workspace
from tasks.ledger.database import open_database
from tasks.ledger.schema import chunks, runs
from tasks.runs.chunk_files import results_name
from tasks.storage.run_folder import RunFolder, join

from .conftest import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
LOOKS = ((320, "light"), (768, "light"), (1280, "light"), (1280, "dark"))
OPEN = "run00399"
_OVERFLOW = """() => [document.documentElement.scrollWidth - document.documentElement.clientWidth,
  [...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll, pre")
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120)).slice(0, 3)]"""


class Site:
    """A console that a browser looks at, with what was asked of it."""

    def __init__(self, base: str, workspace: Workspace, noted: Noted, browser: Browser) -> None:
        self.base, self.workspace, self.noted, self.browser = base, workspace, noted, browser
        self.strange: list[str] = []  # what a page complains of, or asks for elsewhere

    def page(self, width: int = 1280, scheme: Any = "light", *, script: bool = True) -> Page:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda said: self.strange.append(said.text))
        page.on("pageerror", lambda error: self.strange.append(str(error)))
        page.on("dialog", lambda dialog: self.strange.append(dialog.message))
        page.on("request", self._note_strange)
        return page

    def _note_strange(self, request: Any) -> None:
        if not request.url.startswith(self.base):
            self.strange.append(request.url)

    def addresses(self) -> dict[str, str]:
        """Every page, by what it shows."""
        run = self.workspace.run_id
        return {
            "runs": "/runs",
            "no runs": "/runs?search=zzz",
            "a finished run": f"/runs/{run}",
            "an open run": f"/runs/{OPEN}",
            "rows": f"/runs/{run}/rows",
            "batches": "/batches?search=letters",
            "failed batches": "/batches?status=failed",
            "statistics": "/statistics?from=2026-11-01&to=2026-12-31&by=account",
            "jobs": "/jobs",
            "a job": "/jobs/job.yaml",
            "a plan": "/jobs/job.yaml?plan=1&key=n",
            "a wrong plan": "/jobs/job.yaml?plan=1&limit=x",
            "budgets": "/budgets",
            "confirm": f"/runs/{OPEN}/cancel",
            "an error": "/runs/none",
        }


@pytest.fixture
def site(workspace: Workspace, browser: Browser) -> Iterator[Site]:
    """A real run over a hostile dataset, and a ledger of 2,000 batches beside it."""
    workspace.source(12, **{HOSTILE[:30]: [HOSTILE] * 12})
    workspace.change("limits", {"max_requests": 6})
    workspace.change("budget", {"day_usd": 100.0, "approve_above_usd": 0.5})
    workspace.change(
        "prompt", {"model": "gpt-5.4-mini", "user": "Say {{ text }}", "params": {"max_completion_tokens": 20}}
    )
    workspace.faults("row_error:400:t-3")
    spec = load_job(workspace.write()).model_dump(mode="json", by_alias=True)
    workspace.change("budget", {})
    workspace.run()
    fill(workspace.home.ledger_url, spec, text=HOSTILE)
    noted = Noted()
    with served(console_over(workspace.home, workspace.job_file, actions=noted)) as base:
        yield Site(base, workspace, noted, browser)


def test_every_page_fits_and_is_accessible_and_asks_for_nothing_elsewhere(site: Site) -> None:
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    for width, scheme in LOOKS:
        page = site.page(width, scheme)
        for name, address in site.addresses().items():
            page.goto(site.base + address)
            assert page.evaluate(_OVERFLOW) == [0, []], (name, width)
            if name == "an error":
                site.strange = [said for said in site.strange if "404" not in said]
            assert site.strange == [], (name, width)
            if width == 768:  # between the two layouts that are looked at
                continue
            page.evaluate(axe)  # past the page's policy, as a debugger's
            violations = page.evaluate("axe.run().then(found => found.violations)")
            found = [(each["id"], each["nodes"][0]["html"][:200]) for each in violations]
            assert found == [], (name, width, scheme)
        page.context.close()


def test_a_hostile_dataset_is_text_on_every_page(site: Site) -> None:
    page = site.page()
    for address in site.addresses().values():
        page.goto(site.base + address)
        assert page.locator("main script, main img, main iframe").count() == 0
    page.goto(site.base + site.addresses()["rows"])
    assert page.get_by_text("<script>alert(1)</script>").count() > 2
    assert [said for said in site.strange if "404" not in said] == []


def test_batches_are_searched_and_an_error_is_read_by_keyboard_alone(site: Site) -> None:
    page = site.page()
    page.goto(site.base + "/batches")
    page.keyboard.press("/")
    page.keyboard.type("batch_00012")
    page.keyboard.press("Enter")
    page.get_by_text("1–5 of 5").wait_for()
    failed = page.locator("details.why summary").first
    failed.focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("line 3: the model is not known").is_visible()
    page.goto(site.base + "/batches")
    page.get_by_label("Account").select_option("https://other.example.com/v1")
    page.get_by_role("button", name="Search").click()
    page.get_by_text("1–50 of 1,000").wait_for()
    page.get_by_role("link", name="Next").click()
    page.get_by_text("51–100 of 1,000").wait_for()


def test_a_file_is_saved_byte_for_byte(site: Site, tmp_path: Path) -> None:
    page = site.page()
    page.goto(f"{site.base}/batches?run={site.workspace.run_id}")
    with page.expect_download() as download:
        page.locator("tr", has_text="1").get_by_role("link", name="Errors of").first.click()
    saved = tmp_path / "saved.jsonl"
    download.value.save_as(saved)
    assert download.value.suggested_filename == "letters-k-00001-results-1-1.jsonl"
    with RunFolder(join(site.workspace.home.runs_url, "letters/k")).read(results_name(1, 1, 1)) as stored:
        assert saved.read_bytes() == stored.read()


def test_cancel_and_approve_are_confirmed_and_work_without_script(site: Site) -> None:
    ledger_url = site.workspace.home.ledger_url
    estimate = {"prompt_tokens": 1, "method": "m", "cost_usd": 1.0, "most_usd": 2.0}
    with open_database(ledger_url).begin() as connection:
        connection.execute(runs.update().where(runs.c.id == OPEN).values(estimate=estimate))
    page = site.page(script=False)
    for button, asked in (("Approve", "approve"), ("Cancel", "cancel")):
        page.goto(f"{site.base}/runs/{OPEN}")
        page.get_by_role("link", name=button, exact=True).click()
        assert site.noted.asked == []
        page.get_by_role("button", name=button, exact=True).click()
        assert page.get_by_role("status").inner_text() == "noted"
        assert site.noted.asked.pop() == (asked, OPEN)
    page.goto(f"{site.base}/jobs/job.yaml")
    page.get_by_label("Key").fill("new")
    page.get_by_role("button", name="Show the plan").click()
    page.get_by_role("button", name="Start this run").click()
    assert [name for name, _ in site.noted.asked] == ["run"]


def test_a_list_follows_the_ledger_without_being_loaded_again(site: Site) -> None:
    page = site.page()
    page.goto(site.base + "/runs?search=key-0399")
    page.evaluate("document.body.dataset.same = 'yes'")
    link = page.get_by_role("link", name="letters key-0399")
    link.focus()
    with open_database(site.workspace.home.ledger_url).begin() as connection:
        connection.execute(chunks.update().where(chunks.c.run_id == OPEN).values(state="merged"))
    page.get_by_text("5/5 chunks").wait_for()
    assert page.evaluate("document.body.dataset.same") == "yes"
    assert page.evaluate("document.activeElement.getAttribute('href')") == f"/runs/{OPEN}"
    assert page.evaluate(
        "document.activeElement.closest('table') !== null"
    )  # not the same link above the table
    notice = page.locator(".stale")
    page.context.set_offline(True)
    notice.get_by_text("The console does not answer").wait_for()
    page.context.set_offline(False)
    notice.wait_for(state="hidden")
