"""The overview in a real browser: every state in both schemes, by keyboard, without scripts."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from immutability.models import Job
from immutability.policy.protection import Policy, Protection
from tests.browser.looks import examine, prepare
from tests.conftest import SEMVER
from tests.immutability.making import make_drift, make_lock, set_record
from tests.workspaces.log.tampering import write_at
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "v" + "1" * 127


@pytest.fixture
def troubled(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """A workspace in which everything needs attention, with names as long as they may be."""
    now = timezone.now()
    protect(acme, Protection.SOME, SEMVER)
    row = make_lock(acme, LONG, "claimed")
    set_record(row, stray_until=now + timedelta(minutes=9))
    type(row).objects.update(locked_at=now - timedelta(hours=3))
    make_drift(make_lock(acme, "v1.0.0"))
    for days in range(9):
        write_at(now - timedelta(days=days), kind="push.refused", tag=LONG)
    Job.objects.create(workspace=acme, kind="count", expires_at=now - timedelta(hours=3))
    return acme


def test_it_is_free_of_accessibility_faults_in_each_state(
    troubled: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    prepare(page.context)
    page.goto("/acme/")
    examine(page)
    expect(page.locator(".attention > li")).to_have_count(5)


def test_a_newcomer_sees_the_first_steps_with_commands_to_copy(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto("/acme/")
    expect(page.locator(".steps > li")).to_have_count(4)
    expect(page.locator(".steps [data-copy]")).to_have_count(4)


def test_without_scripts_all_of_it_is_there(
    troubled: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice, java_script_enabled=False)
    page.goto("/acme/")
    expect(page.locator(".chart rect")).to_have_count(16)
    page.get_by_role("link", name="Review").click()
    expect(page.locator(".drifts > li")).to_have_count(1)
