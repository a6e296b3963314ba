"""The lock log in a real browser: export with its progress, keyboard, local times."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from immutability.policy.protection import Policy, Protection
from tests.browser.keyboard import press, tab_to
from tests.conftest import SEMVER
from tests.immutability.core import Core
from tests.immutability.making import land
from tests.immutability.registry_double import RegistryDouble, image
from workspaces.log import export as export_module
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.models import Checkpoint, LogExport
from workspaces.log.rows import write_events
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LOG = "/acme/lock-log/"
TAG = "/acme/repositories/acme/api:v1.0.0/"


@pytest.fixture
def history(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """A workspace in which something happened."""
    land(acme, tag="v1.0.0")
    protect(acme, Protection.SOME, SEMVER)
    core = Core(acme, RegistryDouble(), protect)
    core.push("v1.0.0", "v1.0.1", image=image("one"))
    core.push("v1.0.0", image=image("two"))
    core.delete("v1.0.1", is_admin=True)
    return acme


@pytest.fixture
def slow_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each event of an export take a while, and say so at once."""
    monkeypatch.setattr(export_module, "EVENTS_PER_BATCH", 1)
    monkeypatch.setattr(export_module, "BATCHES_PER_REPORT", 1)
    write = write_events

    def write_slowly(*args: Any) -> str:
        time.sleep(0.5)
        return write(*args)

    monkeypatch.setattr(export_module, "write_events", write_slowly)


@pytest.mark.usefixtures("slow_export")
def test_an_export_shows_how_far_it_is_and_ends(
    history: Workspace, olga: User, signed_in_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = signed_in_page(olga)
    page.goto(f"{LOG}export/")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    expect(page.locator("#export-progress progress")).to_be_visible()
    expect(page.locator("#export-progress")).to_contain_text(" of ")
    expect(page.locator("#export-said")).to_have_text("")
    download.value.save_as(tmp_path / "log.jsonl")
    expect(page.locator("#export-said")).to_contain_text("Done: ")
    assert download.value.suggested_filename.startswith("acme-lock-log-")
    assert download.value.suggested_filename.endswith(".jsonl")
    row = LogExport.objects.get()
    assert (row.state, row.done) == ("done", row.total)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == row.total + 1
    # It asks no more.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1500)
    assert asked == []


@pytest.mark.usefixtures("slow_export")
def test_a_download_that_is_cancelled_is_said_to_have_stopped(
    history: Workspace, olga: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(olga)
    page.goto(f"{LOG}export/")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    expect(page.locator("#export-progress progress")).to_be_visible()
    download.value.cancel()
    expect(page.locator("#export-said")).to_contain_text("Stopped after ")


def test_the_log_is_searched_exported_and_signed_with_the_keyboard_alone(
    history: Workspace, olga: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(olga)
    page.goto(LOG)
    tab_to(page.locator("#id_q"))
    page.keyboard.type("API:v1.0.0")
    page.keyboard.press("Enter")
    page.wait_for_url("**/lock-log/?*")
    expect(page.locator(".story-row")).to_have_count(2)
    press(page.locator("a.chip[href*='group=refused']").first)
    page.wait_for_url("**group=refused**")
    expect(page.locator(".story-row")).to_have_count(1)
    press(page.locator(".more-filters summary").first)
    tab_to(page.locator("#id_tag"))
    page.keyboard.type("v1.0.0")
    page.keyboard.press("Enter")
    page.wait_for_url("**tag=v1.0.0**")
    press(page.locator("a[href*='/export/']").first)
    page.wait_for_url("**/export/?*")
    expect(page.locator("#id_tag")).to_have_value("v1.0.0")
    expect(page.locator("#id_q")).to_have_value("API:v1.0.0")
    tab_to(page.locator("[name=format]").first)
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("CSV: a table for a spreadsheet")).to_be_checked()
    tab_to(page.locator("main button").first)
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".csv")
    press(page.locator("main a[href$='/checkpoint/']").first)
    page.wait_for_url("**/checkpoint/")
    made = Checkpoint.objects.count()
    press(page.locator("main button").first)
    # The export has made one a moment ago.
    expect(page.get_by_role("status").first).to_contain_text("is still up to date")
    assert Checkpoint.objects.count() == made


def test_the_checkpoint_is_downloaded(
    history: Workspace, olga: User, signed_in_page: Callable[..., Page], tmp_path: Path
) -> None:
    made = make_checkpoint("acme")
    assert made is not None
    page = signed_in_page(olga)
    page.goto(LOG)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download checkpoint").click()
    assert download.value.suggested_filename == f"acme-checkpoint-{made.sequence}.note"
    download.value.save_as(tmp_path / "kept.note")
    assert (tmp_path / "kept.note").read_text() == made.note


def test_what_a_tag_pointed_at_is_asked_with_the_keyboard_alone(
    history: Workspace, olga: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(olga)
    page.goto(TAG)
    tab_to(page.locator("#id_on"))
    page.keyboard.type("03012020")
    page.keyboard.press("Enter")
    expect(page.locator("#pointed")).to_contain_text(
        "not known. The first record of the tag is from"
    )


def test_local_times_are_in_the_titles_and_what_is_shown_stays_utc(
    history: Workspace, olga: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(olga, timezone_id="Asia/Kolkata", locale="en-GB")
    page.goto(LOG)
    first = page.locator(".story time").first
    expect(first).to_have_text(re.compile(r"^\d\d:\d\d$"))
    title = first.get_attribute("title") or ""
    assert " UTC = " in title
    assert "GMT+5:30" in title


def test_everything_works_without_javascript(
    history: Workspace, olga: User, signed_in_page: Callable[..., Page], tmp_path: Path
) -> None:
    page = signed_in_page(olga, java_script_enabled=False)
    page.goto(LOG)
    assert page.locator(".story time").first.get_attribute("title")
    page.locator(".more-filters summary").click()
    page.get_by_label("Since").fill("2026-01-01T00:00")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Remove filter Since").click()
    page.get_by_text("What moved while this was in force").first.click()
    page.get_by_role("link", name="Every tag that moved").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What moved while this was in force")
    page.goto(LOG)
    page.get_by_role("link", name="Export the log").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "log.jsonl")
    assert '"checkpoint"' in (tmp_path / "log.jsonl").read_text()
