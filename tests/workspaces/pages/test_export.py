"""The page that exports the log, and what it says of the progress."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from tests.conftest import AA
from tests.page import Browser, parse, read_errors
from workspaces.access import SYSTEM
from workspaces.log import export as export_module
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.log.models import LogExport
from workspaces.models import User, Workspace

PAGE = "/acme/lock-log/export/"
DOWNLOAD = f"{PAGE}download/"


@pytest.fixture(autouse=True)
def _log(acme: Workspace) -> None:
    """Five events of tags, beside the creation of the workspace."""
    with transaction.atomic():
        append_events(
            [
                Event(EventKind.TAG_LOCKED, "acme", "acme/api", f"v{number}", digest=AA)
                for number in range(5)
            ],
            actor=SYSTEM,
        )


def read_file(response: Any) -> list[dict[str, Any]]:
    """Return the lines of a download."""
    assert response.status_code == 200, response
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


def ask_progress(browser: Browser, export_id: UUID) -> tuple[Any, str]:
    """Return the part of the page that says how far an export is, and what is said at its end."""
    response = browser.client.get(f"{PAGE}{export_id}/", headers={"HX-Request": "true"})
    assert response.status_code == 200
    part = parse(response.content.decode())
    bar, said = (child for child in part.children if not isinstance(child, str))
    assert said["hx-swap-oob"] == "innerHTML:#export-said"
    return bar, said.text


def test_the_log_leads_to_an_export_with_the_same_filters(
    acme: Workspace, auditor: Browser
) -> None:
    auditor.open("/acme/lock-log/")
    auditor.press("Filter", tag="v3", digest="aaaa")
    page = auditor.follow("Export these events")
    assert page.find(name="tag")["value"] == "v3"
    lines = read_file(auditor.send("Download"))
    assert [line.get("tag") for line in lines] == ["v3", None]
    assert "checkpoint" in lines[-1]


def test_without_filters_it_is_the_whole_log(acme: Workspace, admin: Browser) -> None:
    admin.open("/acme/lock-log/")
    admin.follow("Export the log")
    assert len(read_file(admin.send("Download"))) == LogExport.objects.get().total + 1


def test_a_table_is_chosen_by_its_option(acme: Workspace, admin: Browser) -> None:
    admin.open(PAGE)
    response = admin.send("Download", format="csv")
    assert response["Content-Type"].startswith("text/csv")
    assert (
        len(b"".join(response.streaming_content).splitlines()) == LogExport.objects.get().done + 1
    )


def test_the_download_bears_the_id_that_the_page_asks_for(acme: Workspace, admin: Browser) -> None:
    page = admin.open(PAGE)
    export_id = page.find("input", name="export")["value"]
    asking = page.by_id("export-progress")
    assert asking["hx-get"] == f"{PAGE}{export_id}/"
    assert asking["hx-trigger"] == "submit from:body target:#export-form"
    read_file(admin.send("Download"))
    assert str(LogExport.objects.get().id) == export_id


def test_wrong_filters_are_said_on_the_page_and_nothing_is_exported(
    acme: Workspace, admin: Browser
) -> None:
    admin.open(PAGE)
    page = admin.press("Download", 422, since="2026-03-02", until="2026-03-01", format=None)
    assert list(read_errors(page)) == ["id_until", "id_format_0"]
    assert not LogExport.objects.exists()


def test_the_page_says_what_is_not_sealed_yet(acme: Workspace, admin: Browser) -> None:
    text = admin.open(PAGE).main.text
    assert "are not sealed yet, the oldest" in text
    read_file(admin.send("Download"))
    assert "All events are sealed." in admin.open(PAGE).main.text


def test_how_many_queries_page_progress_and_download_take(
    acme: Workspace,
    auditor: Browser,
    django_assert_num_queries: Callable[..., Any],
    django_assert_max_num_queries: Callable[..., Any],
) -> None:
    with django_assert_num_queries(6):
        auditor.open(PAGE)
    read_file(auditor.client.get(f"{DOWNLOAD}?format=jsonl"))
    # Most of them look for what is to be sealed, one database with more than another.
    with django_assert_max_num_queries(30):
        response = auditor.client.get(f"{DOWNLOAD}?format=jsonl&tag=v3")
    with django_assert_num_queries(2):
        read_file(response)
    with django_assert_num_queries(5):
        auditor.client.get(f"{PAGE}{LogExport.objects.latest('started_at').id}/")


# Progress.


def test_before_the_download_begins_the_page_asks_on(acme: Workspace, admin: Browser) -> None:
    bar, said = ask_progress(admin, uuid4())
    assert bar["hx-trigger"] == "every 1s"
    assert bar.text == "The download has not started yet."
    assert said == ""


@pytest.mark.parametrize(
    ("state", "text", "said", "goes_on"),
    [
        ("running", "Export 12,000 of 48,211 events", "", True),
        ("done", "Export", "Done: 12,000 of 48,211 events.", False),
        (
            "stopped",
            "Export",
            "Stopped after 12,000 of 48,211 events: the download was canceled.",
            False,
        ),
    ],
)
def test_each_state_is_said_in_words_beside_a_bar(
    *, acme: Workspace, admin: Browser, state: str, text: str, said: str, goes_on: bool
) -> None:
    row = LogExport.objects.create(
        workspace="acme", actor="alice", total=48_211, done=12_000, state=state
    )
    bar, spoken = ask_progress(admin, row.id)
    assert bar.text == text
    assert spoken == said
    assert ("hx-trigger" in bar.attributes) is goes_on
    progress = bar.find("progress")
    assert (progress["value"], progress["max"]) == ("12000", "48211")


def test_a_download_that_is_silent_for_long_is_not_asked_for_any_more(
    acme: Workspace, admin: Browser
) -> None:
    row = LogExport.objects.create(
        workspace="acme",
        actor="alice",
        total=9,
        done=3,
        moved_at=timezone.now() - timedelta(minutes=3),
    )
    bar, said = ask_progress(admin, row.id)
    assert "hx-trigger" not in bar.attributes
    assert said.startswith("No progress for two minutes: 3 of 9")


def test_an_export_of_another_workspace_has_not_begun_here(acme: Workspace, admin: Browser) -> None:
    row = LogExport.objects.create(workspace="globex", actor="mallory", total=48_211)
    assert ask_progress(admin, row.id)[0].text == "The download has not started yet."


def test_an_empty_export_is_done_and_its_bar_is_full(acme: Workspace, admin: Browser) -> None:
    row = LogExport.objects.create(workspace="acme", actor="alice", total=0, state="done")
    bar, said = ask_progress(admin, row.id)
    assert bar.find("progress")["value"] == bar.find("progress")["max"] == "1"
    assert said == "Done: 0 of 0 events."


# How many at once.


@pytest.fixture
def no_place() -> Iterator[None]:
    """Two exports of others are in progress."""
    places = [export_module._slots.take(slug) for slug in ("globex", "initech")]
    yield
    for place in places:
        export_module._slots.give_back(place)


@pytest.mark.usefixtures("no_place")
def test_a_third_export_is_told_on_a_page_when_to_try_again(
    acme: Workspace, admin: Browser
) -> None:
    admin.open(PAGE)
    page = admin.press("Download", 503)
    assert page.heading == "Nothing was exported"
    assert "2 exports are already running. Try again when one has finished." in page.main.text
    assert page.headers["Retry-After"] == "30"


# Who.


def test_members_and_strangers_export_nothing(
    acme: Workspace, member: Browser, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    stranger = Browser(sign_in(mallory))
    for path in (PAGE, f"{DOWNLOAD}?format=csv", f"{PAGE}{uuid4()}/"):
        member.open(path, 403)
        stranger.open(path, 404)
    links = [link.text for link in member.open("/acme/lock-log/").main.find_all("a")]
    assert not any("Export" in text for text in links)


def test_where_the_session_is_over_htmx_sends_the_whole_page_to_sign_in() -> None:
    response = Client().get(
        f"{PAGE}{uuid4()}/",
        headers={"HX-Request": "true", "HX-Current-URL": f"http://testserver{PAGE}"},
    )
    assert response.status_code == 200
    assert response.headers["HX-Redirect"] == "/accounts/login/?next=%2Facme%2Flock-log%2Fexport%2F"
    assert response.content == b""


@pytest.mark.parametrize("current", ["http://evil.example/x", "javascript:alert(1)", ""])
def test_sign_in_leads_back_to_this_site_alone(current: str) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": current}
    response = Client().get(f"{PAGE}{uuid4()}/", headers=headers)
    assert response.headers["HX-Redirect"] == "/accounts/login/?next=%2F"
