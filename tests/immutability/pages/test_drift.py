"""The page of what differs between locks and registry: everyone reads it, and admins act."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from immutability.models import Drift, Job
from immutability.pages import drift as page_module
from immutability.policy.protection import Policy, Protection
from tests.conftest import AA, BB
from tests.immutability.core import Core, named
from tests.immutability.making import make_drift, make_lock
from tests.immutability.registry_double import NO_ANSWER, REFUSED, digest_of, image
from tests.page import Browser
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

ONE, TWO = named("one", image("one")), named("two", image("two"))
DRIFT = "/acme/drift/"


@pytest.fixture
def changed(core: Core, monkeypatch: pytest.MonkeyPatch) -> Core:
    """A tag locked to one that someone has pointed at two, before a registry."""
    core.push("v1", image=ONE)
    core.registry.store(TWO, "v1")
    make_drift(core.record().lock, found=digest_of(TWO))
    monkeypatch.setattr(page_module, "find_registry", lambda _: core.registry)
    return core


def test_where_nothing_differs_it_says_so(acme: Workspace, member: Browser) -> None:
    assert "Nothing differs" in member.open(DRIFT).main.text


@pytest.mark.parametrize(
    ("kind", "fields", "said", "advised"),
    [
        ("changed", {}, "the registry has sha256:bbbb", "Put it back"),
        ("missing", {"found": ""}, "does not have the tag", "Put it back"),
        ("missing", {"found": "", "is_gone": True}, "cannot be put back", "Push it again"),
        ("incomplete", {"found": AA, "missing": BB, "missing_count": 3}, "nor 2 more", "missing"),
        ("reserved", {}, "its name is reserved", "Delete the tag in the registry"),
    ],
)
@pytest.mark.parametrize("role", ["auditor", "member"])
def test_what_differs_is_said_with_what_can_be_done(
    request: pytest.FixtureRequest,
    acme: Workspace,
    protect: Callable[..., Policy],
    role: str,
    kind: str,
    fields: dict[str, Any],
    said: str,
    advised: str,
) -> None:
    protect(acme, Protection.ALL)
    make_drift(
        make_lock(acme, "v1", "reserved" if kind == "reserved" else "locked"), kind, **fields
    )
    browser: Browser = request.getfixturevalue(role)
    page = browser.open(DRIFT)
    assert said.lower() in page.main.text.lower()
    assert advised in page.main.text
    assert page.main.find_all("form") == []


def test_what_no_setting_covers_and_what_is_over_is_not_listed(
    acme: Workspace, globex: Workspace, protect: Callable[..., Policy], auditor: Browser
) -> None:
    make_drift(make_lock(acme, "v1"))
    make_drift(make_lock(globex, "v2"))
    assert "Nothing differs" in auditor.open(DRIFT).main.text
    protect(acme, Protection.ALL)
    assert "acme/api:v1" in auditor.open(DRIFT).main.text
    Drift.objects.update(digest=BB)
    assert "Nothing differs" in auditor.open(DRIFT).main.text


def test_an_admin_puts_a_tag_back(changed: Core, admin: Browser) -> None:
    admin.open(DRIFT)
    page = admin.press("Put back acme/api:v1")
    assert "acme/api:v1 points at its locked image again." in page.main.text
    assert changed.shown() == "one"
    event = LockEvent.objects.get(kind="drift.repaired")
    assert (event.actor, event.actor_kind) == ("alice", "person")
    assert "Nothing differs" in page.main.text


@pytest.mark.parametrize("reply", [REFUSED, NO_ANSWER])
def test_why_a_tag_was_not_put_back_is_said(changed: Core, admin: Browser, reply: Any) -> None:
    changed.registry.script("PUT v1", reply)
    admin.open(DRIFT)
    page = admin.press("Put back acme/api:v1")
    assert "was not put back: the registry" in page.main.text
    assert "It could not be put back" in page.main.text
    assert changed.shown() == "two"


def test_an_admin_looks_again(changed: Core, admin: Browser) -> None:
    admin.open(DRIFT)
    assert "still differs" in admin.press("Look again at acme/api:v1").main.text
    changed.registry.store(ONE, "v1")
    page = admin.press("Look again at acme/api:v1")
    assert "acme/api:v1 is as it was locked." in page.main.text


def test_an_admin_compares_all_locks(changed: Core, admin: Browser) -> None:
    admin.open(DRIFT)
    page = admin.press("Compare all locks now")
    assert "All locks are being compared" in page.main.text
    assert Job.objects.get(kind="drift").done_at is None


def test_what_the_registry_could_not_show_is_said(acme: Workspace, member: Browser) -> None:
    counts = {"looked_at_count": 9, "left_out_count": 1, "left_out_repository": "acme/web"}
    now = timezone.now()
    Job.objects.create(workspace=acme, kind="drift", done_at=now, compared_at=now, **counts)
    said = member.open(DRIFT).main.text
    assert "ago: 9 locks." in said
    assert "could not show 1 locked tag, the last of them in acme/web" in said


def test_the_tag_s_page_says_that_it_differs(changed: Core, member: Browser) -> None:
    page = member.open("/acme/repositories/acme/api:v1/")
    assert "and the registry has" in page.main.text
    assert member.follow("What can be done").heading == "Drift"
