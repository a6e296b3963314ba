"""Locked tags in a real browser: the list, the questions in dialogs, a tag's page."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, Protection
from tests.conftest import SEMVER
from tests.immutability.making import land, make_lock, put_in_flight, put_stray
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIST = "/acme/locked-tags/"


@pytest.fixture
def every_status(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """A workspace with a lock of each status, its tag named after it."""
    protect(acme, Protection.SOME, SEMVER)
    for number, state in enumerate(LockState):
        make_lock(acme, f"v1.0.{number}", state, rule_name=SEMVER.name)
    make_lock(acme, "latest", rule_name="A rule that was there before")
    put_in_flight(LockedTag.objects.get(state="claimed"), write_is_external=True)
    land(acme, tag="latest")
    return acme


def test_what_has_to_end_first_is_said_on_the_list(
    every_status: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    row = LockedTag.objects.get(tag="v1.0.1")
    put_stray(row, timezone.now() + timedelta(minutes=12))
    page = signed_in_page(alice)
    page.goto(LIST)
    page.get_by_role("button", name="Actions for acme/api:v1.0.1").click()
    page.get_by_role("link", name="Release lock… acme/api:v1.0.1").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason (recorded in the lock log)").fill("A rebuild")
    dialog.get_by_role("button", name="Release").click()
    expect(page.locator(".banner-error")).to_contain_text(
        'Not done yet. An earlier write of tag "v1.0.1" of acme/api got no answer'
    )
    row.refresh_from_db()
    assert row.state == "locked"


def test_a_reason_is_asked_for_in_the_dialog(
    every_status: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(LIST)
    page.get_by_role("button", name="Actions for acme/api:v1.0.2").click()
    page.get_by_role("link", name="Free name… acme/api:v1.0.2").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Free the name").click()
    expect(page.get_by_text("Enter a reason.").first).to_be_visible()
    page.get_by_label("Reason (recorded in the lock log)").fill("Never used")
    page.get_by_role("button", name="Free the name").click()
    expect(page.locator(".banner")).to_contain_text("is free: the next push can bring any image.")
