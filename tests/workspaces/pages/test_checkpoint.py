"""The page of the latest checkpoint: what to keep, and the button that makes one."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from tests.page import Browser
from tests.static.exports import SCRIPT
from workspaces.access import SYSTEM
from workspaces.log import seal
from workspaces.log.append import Event, append_event, append_events
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.keys import KeyFileError, verifier_key
from workspaces.log.kinds import EventKind
from workspaces.log.models import Checkpoint
from workspaces.models import User, Workspace

PAGE = "/acme/lock-log/checkpoint/"


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_admins_and_auditors_make_a_checkpoint(
    request: pytest.FixtureRequest, acme: Workspace, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    assert browser.open(PAGE).find(class_="empty").text.startswith("No checkpoint yet.")
    page = browser.press("Make a checkpoint now")
    made = Checkpoint.objects.get()
    assert page.banners == [f"The checkpoint of event {made.sequence} is made."]
    assert page.facts["Latest event"] == str(made.sequence)
    assert page.facts["Events since"] == "All events are sealed."


def test_the_page_shows_what_to_keep_as_it_is(acme: Workspace, auditor: Browser) -> None:
    made = make_checkpoint("acme")
    assert made is not None
    page = auditor.open(PAGE)
    note, key, verify, command = (each.raw_text for each in page.main.find_all("pre"))
    assert note == made.note
    assert key == verifier_key()
    assert verify.startswith(
        "curl -fsS -o verify_lock_log.py http://testserver/static/verify_lock_log.py\n"
    )
    assert command == "python manage.py verify_lock_log acme"


def test_the_checkpoint_can_be_downloaded(acme: Workspace, auditor: Browser) -> None:
    made = make_checkpoint("acme")
    assert made is not None
    link = auditor.open(PAGE).main.find_with_text("a", "Download the checkpoint")
    response = auditor.client.get(link["href"])
    assert response.content == made.note.encode()
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    name = f"acme-checkpoint-{made.sequence}.note"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'


def test_there_is_nothing_to_download_before_the_first_checkpoint(
    acme: Workspace, globex: Workspace, auditor: Browser
) -> None:
    make_checkpoint("globex")
    assert "Download the checkpoint" not in auditor.open(PAGE).main.text
    auditor.open(f"{PAGE}download/", 404)


def test_the_command_works_as_it_is_copied(
    acme: Workspace, auditor: Browser, tmp_path: Path
) -> None:
    make_checkpoint("acme")
    page = auditor.open(PAGE)
    for link in page.main.find("ol").find_all("a"):
        response: Any = auditor.client.get(link["href"])
        content = response.streaming_content if response.streaming else [response.content]
        (tmp_path / link["download"]).write_bytes(b"".join(content))
    verify = page.main.find("ol").find("pre").raw_text
    download, command = verify.split("\n", 1)
    assert download.endswith("/static/verify_lock_log.py")
    shutil.copy(SCRIPT, tmp_path)
    command = command.replace("python3", sys.executable, 1)
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0 findings; ")
    # Of a note that was altered, it says so.
    [note] = tmp_path.glob("*.note")
    note.write_text(note.read_text().replace("time 20", "time 19", 1))
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0


def test_a_press_makes_one_where_something_happened_and_the_latest_is_shown(
    acme: Workspace, globex: Workspace, admin: Browser
) -> None:
    admin.open(PAGE)
    admin.press("Make a checkpoint now")
    page = admin.press("Make a checkpoint now")
    first = Checkpoint.objects.get()
    assert page.banners == [f"The checkpoint of event {first.sequence} is still up to date."]
    with transaction.atomic():
        append_event(Event(EventKind.TAG_LOCKED, "acme", "acme/api", "v1"), actor=SYSTEM)
    page = admin.press("Make a checkpoint now")
    latest = Checkpoint.objects.latest("id")
    assert Checkpoint.objects.count() == 2
    assert page.banners == [f"The checkpoint of event {latest.sequence} is made."]
    assert page.main.find_all("pre")[0].raw_text == latest.note


def test_members_see_how_far_the_log_is_sealed_and_no_more(
    acme: Workspace, member: Browser
) -> None:
    make_checkpoint("acme")
    page = member.open("/acme/lock-log/")
    assert "All 2 events are sealed." in page.main.text
    assert "Last checkpoint: event 2, " in page.main.text
    assert "checkpoint/" not in str([link["href"] for link in page.main.find_all("a")])
    member.open(PAGE, 403)
    member.open(f"{PAGE}download/", 403)


def test_a_checkpoint_of_another_workspace_is_not_shown(
    acme: Workspace, globex: Workspace, admin: Browser
) -> None:
    make_checkpoint("globex")
    assert admin.open(PAGE).find(class_="empty")


def test_a_key_that_cannot_be_read_is_said_and_nothing_is_made(
    acme: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyFileError("/secret/place cannot be used")

    monkeypatch.setattr("workspaces.pages.checkpoint.make_checkpoint", fail)
    monkeypatch.setattr("workspaces.pages.checkpoint.verifier_key", fail)
    admin.open(PAGE)
    page = admin.press("Make a checkpoint now")
    assert page.banners == ["The lock log's key cannot be read: nothing was signed."]
    assert "/secret/place" not in page.main.text


def test_where_another_process_is_sealing_for_the_first_time_it_says_to_try_again(
    acme: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspaces.log.checkpoints.seal_for", lambda *_: 0)
    admin.open(PAGE)
    assert admin.press("Make a checkpoint now").banners == [
        "No event is sealed yet. Try again in a moment."
    ]


def test_of_very_many_unsealed_events_it_says_that_there_are_more(
    acme: Workspace, admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "MAX_COUNTED", 2)
    with transaction.atomic():
        events = [Event(EventKind.TAG_LOCKED, "acme", "acme/api", f"v{n}") for n in range(3)]
        append_events(events, actor=SYSTEM)
    assert "More than 2 events are not sealed yet, the oldest" in admin.open(PAGE).main.text


def test_strangers_find_no_page(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open(PAGE, 404)


def test_how_many_queries_the_page_takes(
    acme: Workspace, auditor: Browser, django_assert_num_queries: Callable[..., Any]
) -> None:
    for _ in range(2):
        make_checkpoint("acme")
        with django_assert_num_queries(7):
            auditor.open(PAGE)
