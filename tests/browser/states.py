"""Every page in every state, as data.

`test_states.py` examines them, and `tests.screenshots` draws them. A new page or state is a line
here; what it shows may need some data in `world.py`. A state may
change something, but nothing that another one shows.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError
from django.test import override_settings
from django.urls import reverse
from django.utils.http import urlsafe_base64_encode
from playwright.sync_api import Page

from packages_site.guides import GUIDES
from workspaces.actions.sign_in_links import SIGN_IN_TOKENS
from workspaces.models import User
from workspaces.single_sign_on.settings import Provider

Do = Callable[[Page], object]

ALICE, BOB, OLGA, NINA, SAM, STRANGER = "alice", "bob", "olga", "nina", "sam", ""
SETTINGS = "settings/packages/containers/"
PATIENCE_MS = 10_000


def stay(page: Page) -> None:
    """Leave the page as it opened."""


def press(button: str, typed: Mapping[str, str] = MappingProxyType({})) -> Do:
    """Return what fills fields, and presses a button that leads to another page."""

    def do(page: Page) -> None:
        fill(typed)(page)
        with page.expect_navigation():
            page.get_by_role("button", name=button, exact=True).first.click()

    return do


def fill(typed: Mapping[str, str]) -> Do:
    """Return what fills fields, by their labels."""

    def do(page: Page) -> None:
        for label, value in typed.items():
            page.get_by_label(label, exact=True).fill(value)

    return do


def click(selector: str) -> Do:
    """Return what clicks the first such element."""
    return lambda page: page.locator(selector).first.click()


def choose(label: str) -> Do:
    """Return what checks a radio or a checkbox."""
    return lambda page: page.get_by_label(label, exact=True).check()


def then(*steps: Do) -> Do:
    """Return what does these, one after the other."""

    def do(page: Page) -> None:
        for step in steps:
            step(page)

    return do


def wait_for(selector: str) -> Do:
    """Return what waits until there is such an element."""
    return lambda page: page.locator(selector).first.wait_for(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class State:
    """A page in a state: who opens which address, and what they do there."""

    name: str
    path: str
    who: str = ALICE
    do: Do = stay
    status: int = 200
    settings: dict[str, Any] = field(default_factory=dict)
    # What raises OperationalError, or anything else, while the page is made.
    broken: str = ""
    error: type[Exception] = RuntimeError
    # What the page and all that it loads may weigh on the wire.
    max_bytes: int = 60_000

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Let the site be as the state has it."""
        with override_settings(**self.settings):
            if not self.broken:
                yield
                return
            with patch(self.broken, side_effect=self.error("broken on purpose")):
                yield


def _age_version(page: Page) -> None:
    """Let the form be about settings from before somebody else's change."""
    page.locator("input[name=version]").evaluate("field => { field.value = 0; }")


def press_in_place(button: str, shows: str) -> Do:
    """Return what presses a button that changes a part of the page, until there is `shows`."""

    def do(page: Page) -> None:
        page.get_by_role("button", name=button, exact=True).last.click()
        page.locator(shows).first.wait_for(timeout=PATIENCE_MS)

    return do


def _change_seen(page: Page) -> None:
    """Let one of the chosen tags have been seen with another image than it has."""
    page.locator("input[name=tag]").first.evaluate(
        "field => { field.value = field.value.replace(/sha256:.*/, `sha256:${'e'.repeat(64)}`); }"
    )


_ALL_CHECKED = wait_for("#preview-checked:text-matches('checked|No tags yet')")
_TRY = then(fill({"Tags to try": "v1.2.0\nprod-4\nlatest\nno tag"}), wait_for("mark"), _ALL_CHECKED)
_ADVISE = then(
    fill({"Tags to try": "1.0.0+5", "RE2 pattern of rule 1": "v1.*, v2.*"}),
    wait_for("#tester-result .advice"),
)
# No tag is covered any more that the seventh rule locked, and others are.
_EDIT = then(
    fill({"Tags to try": "v1.2.0\nmain\nnightly-20261128", "RE2 pattern of rule 7": "^main$"}),
    wait_for("mark"),
    wait_for("#preview :text('would have been refused')"),
)


def _open_effects(page: Page) -> None:
    for each in page.locator("#preview summary").all():
        each.click()


_SELECT = then(choose("orchard/api:v1.0.0"), choose("orchard/api:v1.1.0"))
_CHOOSE = then(
    choose("orchard/worker:v1.0.0"), choose("orchard/worker:v1.1.0"), press("Delete tags…")
)
# What is deleted is not there for the states above, in whatever order they come.
_CHOOSE_MORE = then(
    choose("orchard/worker:v1.2.0"), choose("orchard/worker:v1.3.0"), press("Delete tags…")
)
_REASON = "Reason (recorded in the lock log) required"
# Nobody answers there, and no page above waits for it.
_REGISTRY = {"REGISTRY_URL": "http://127.0.0.1:1"}
_REGISTRY_ACCOUNTS = {**_REGISTRY, "REGISTRY_ACCOUNTS": "registry"}
_MAIL = {"HAS_MAIL": True}
_PROVIDER = {
    "PROVIDER_SECRET": Provider("https://login.example.org/main", "taglock", name="Example ID")
}
_PROVIDER_ALONE = {**_PROVIDER, "LOCAL_PASSWORDS": False}


def _download(page: Page) -> None:
    with page.expect_download():
        page.get_by_role("button", name="Download", exact=True).click()
    page.get_by_text("Done: ").wait_for()


def _choose_nothing(page: Page) -> None:
    page.locator("input[type=radio]:checked").evaluate("radio => { radio.checked = false; }")


def _come_back_to_link(page: Page) -> None:
    """Be asked what one is asked who comes back from the provider to link an account."""
    [key] = [
        cookie["value"]
        for cookie in page.context.cookies()
        if cookie["name"] == django_settings.SESSION_COOKIE_NAME
    ]
    session = SessionStore(key)
    session["sign_on_link"] = {
        "user_id": int(session[SESSION_KEY]),
        "subject": "1",
        "name": "nina@login.example.org",
        "until": math.inf,
    }
    session.save()
    page.goto(reverse("link-account"))


def _open_sign_in_link(page: Page) -> None:
    """Open what an operator sends to a site administrator whom nothing else lets in."""
    sam = User.objects.get(username=SAM)
    uid = urlsafe_base64_encode(str(sam.pk).encode())
    page.goto(reverse("sign-in-link", args=[uid, SIGN_IN_TOKENS.make_token(sam)]))


STATES = (
    # Signing in, and one's own account.
    State("sign-in", "/accounts/login/", STRANGER),
    State("sign-in-needed", "/acme/", STRANGER),
    State(
        "sign-in-wrong",
        "/accounts/login/",
        STRANGER,
        press("Sign in", {"User name": "alice", "Password": "wrong"}),
    ),
    State("sign-in-provider", "/accounts/login/", STRANGER, settings=_PROVIDER),
    State("sign-in-provider-alone", "/accounts/login/", STRANGER, settings=_PROVIDER_ALONE),
    State(
        "sign-on-problem",
        "/accounts/single-sign-on/callback/",
        STRANGER,
        status=400,
        settings=_PROVIDER,
    ),
    State("link-account", "/accounts/", NINA, _come_back_to_link, settings=_PROVIDER),
    State(
        "link-account-error",
        "/accounts/",
        NINA,
        then(_come_back_to_link, press("Link")),
        422,
        _PROVIDER,
    ),
    State("sign-in-link", "/", STRANGER, _open_sign_in_link),
    State("forgotten-password", "/accounts/forgot/", STRANGER, settings=_MAIL),
    State(
        "forgotten-password-error",
        "/accounts/forgot/",
        STRANGER,
        press("Mail me a link", {"E-mail address": "x"}),
        422,
        _MAIL,
    ),
    State("forgotten-password-without-mail", "/accounts/forgot/", STRANGER),
    State("new-password", "{password_link}", STRANGER),
    State("new-password-error", "{password_link}", STRANGER, press("Set the password"), 422),
    State("new-password-not-valid", "/accounts/password/x/y/", STRANGER, status=404),
    State("invitation", "/invitations/{invitation}/", STRANGER),
    State(
        "invitation-error",
        "/invitations/{invitation}/",
        STRANGER,
        press("Make an account and join"),
        422,
    ),
    State("invitation-signed-in", "/invitations/{invitation}/", NINA),
    State("invitation-already-in", "/invitations/{invitation}/", ALICE),
    State("invitation-not-valid", "/invitations/x/", STRANGER, status=404),
    State("account", "/accounts/"),
    State("account-without-workspace", "/accounts/", NINA),
    State("account-provider", "/accounts/", settings=_PROVIDER),
    State("personal-tokens", "/accounts/tokens/", NINA),
    State("personal-token-created", "/accounts/tokens/", OLGA, press("Create", {"Name": "laptop"})),
    State("personal-tokens-error", "/accounts/tokens/", NINA, press("Create"), 422),
    State("account-error", "/accounts/", do=press("Change password"), status=422),
    State("account-menu", "/acme/", do=click(".who")),
    State("workspaces", "/"),
    State("workspaces-none", "/", NINA),
    # A workspace.
    State("overview", "/acme/"),
    State("overview-in-use", "/orchard/"),
    State("overview-member", "/acme/", BOB),
    State("overview-empty", "/fresh/"),
    State("overview-many", "/crowd/"),
    State("overview-suspended", "/paused/"),
    State("repositories", "/acme/repositories/"),
    State("repositories-member", "/acme/repositories/", BOB),
    State("repositories-empty", "/fresh/repositories/"),
    State("repositories-many", "/crowd/repositories/"),
    State("repositories-none", "/acme/repositories/?q=nothing"),
    State("repositories-error", "/acme/repositories/?visibility=secret"),
    State(
        "visibility-error",
        "/acme/repositories/acme/api/-/visibility/",
        do=then(_choose_nothing, press("Save")),
        status=422,
    ),
    State("visibility-long", "/crowd/repositories/{long_repository}/-/visibility/"),
    State("visibility", "/acme/repositories/acme/api/-/visibility/"),
    State("repository", "/acme/repositories/acme/api/"),
    State("repository-in-use", "/orchard/repositories/orchard/api/"),
    State("repository-filtered", "/orchard/repositories/orchard/api/?q=v1.1&state=locked"),
    State("repository-none", "/acme/repositories/acme/api/?q=nothing"),
    State("repository-error", "/acme/repositories/acme/api/?state=x&sort=x"),
    State("repository-selected", "/orchard/repositories/orchard/api/", do=_SELECT),
    State("repository-member", "/acme/repositories/acme/api/", BOB),
    State("repository-many", "/crowd/repositories/{long_repository}/"),
    State("moved", "/acme/lock-log/{changed}/moved/"),
    State("tag", "/acme/repositories/acme/api:v1.2.0/"),
    State("tag-member", "/acme/repositories/acme/api:v1.2.0/", BOB),
    State("tag-long", "/crowd/repositories/{long_repository}:{long_tag}/"),
    State("tag-unknown", "/acme/repositories/acme/api:other/"),
    State("tag-on-a-day", "/acme/repositories/acme/api:v1.2.0/?on={today}"),
    State("tag-on-a-day-error", "/acme/repositories/acme/api:v1.2.0/?on=yesterday&time=x"),
    State("tag-sharing", "/acme/repositories/acme/api:v1.3.0/"),
    State("delete-tag", "/orchard/repositories/orchard/api:main/delete/", settings=_REGISTRY),
    State("change-tags", "/orchard/repositories/orchard/worker/", do=_CHOOSE),
    State(
        "change-tags-error",
        "/orchard/repositories/orchard/worker/",
        do=then(_CHOOSE, press("Delete 2 tags")),
        status=422,
    ),
    State(
        "changed-tags",
        "/orchard/repositories/orchard/worker/",
        do=then(_CHOOSE_MORE, _change_seen, press("Delete 2 tags", {_REASON: "Built by mistake"})),
    ),
    State("tag-menu", "/orchard/repositories/orchard/api/", do=click("td .icon-button")),
    State("general-registry-accounts", "/acme/settings/", settings=_REGISTRY_ACCOUNTS),
    State("tokens-registry-accounts", "/acme/settings/access-tokens/", settings=_REGISTRY_ACCOUNTS),
    State("drift", "/acme/drift/", settings={"REGISTRY_URL": "http://registry:5000"}),
    State("drift-auditor", "/acme/drift/", OLGA),
    State("drift-none", "/fresh/drift/"),
    State("tag-that-differs", "/acme/repositories/acme/tools/build:v3.0.0/"),
    State("locked-tags", "/acme/locked-tags/"),
    State("locked-tags-member", "/acme/locked-tags/", BOB),
    State("locked-tags-auditor", "/acme/locked-tags/", OLGA),
    State("locked-tags-empty", "/fresh/locked-tags/"),
    State("locked-tags-many", "/crowd/locked-tags/"),
    State("locked-tags-suspended", "/paused/locked-tags/"),
    State("locked-tags-filtered", "/acme/locked-tags/?state=suspended"),
    State("locked-tags-none", "/acme/locked-tags/?q=nothing"),
    State("delete-locked-tag", "/acme/locked-tags/{locked}/delete/"),
    State(
        "delete-locked-tag-error",
        "/acme/locked-tags/{locked}/delete/",
        do=press("Delete"),
        status=422,
    ),
    State("delete-suspended-tag", "/acme/locked-tags/{suspended}/delete/"),
    State("release-locked-tag", "/acme/locked-tags/{locked}/release/"),
    State("free-name", "/acme/locked-tags/{reserved}/delete/"),
    State("drop-claim", "/acme/locked-tags/{claimed}/delete/"),
    # The lock log.
    State("lock-log", "/acme/lock-log/"),
    State("lock-log-in-use", "/orchard/lock-log/"),
    State("lock-log-member", "/acme/lock-log/", BOB),
    State("lock-log-empty", "/fresh/lock-log/?kind=push.refused"),
    State("lock-log-many", "/crowd/lock-log/"),
    State("lock-log-error", "/acme/lock-log/?kind=x&since=x"),
    State("lock-log-end", "/acme/lock-log/?before=000000000000"),
    State("event-refused", "/acme/lock-log/{refused}"),
    State("event-refused-member", "/acme/lock-log/{refused}", BOB),
    State("event-settings", "/acme/lock-log/{changed}"),
    State("checkpoint", "/acme/lock-log/checkpoint/", OLGA),
    State("export", "/acme/lock-log/export/", OLGA),
    State("export-done", "/acme/lock-log/export/", OLGA, _download),
    State("export-error", "/acme/lock-log/export/download/?since=x", OLGA, status=422),
    # Settings.
    State("container-settings", f"/acme/{SETTINGS}"),
    State("container-settings-member", f"/acme/{SETTINGS}", BOB),
    State("container-settings-new", f"/fresh/{SETTINGS}"),
    State("container-settings-many", f"/crowd/{SETTINGS}"),
    State("container-settings-suspended", f"/paused/{SETTINGS}"),
    State("container-settings-tested", f"/acme/{SETTINGS}", do=_TRY),
    State(
        "container-settings-exceptions",
        f"/vault/{SETTINGS}",
        do=then(fill({"Tags to try": "v1\n4\nlatest"}), wait_for("mark"), _ALL_CHECKED),
    ),
    State("container-settings-rules", f"/orchard/{SETTINGS}", do=_TRY),
    State("container-settings-effects", f"/orchard/{SETTINGS}", do=_EDIT),
    State(
        "container-settings-effects-open",
        f"/orchard/{SETTINGS}",
        do=then(_EDIT, _open_effects),
    ),
    State("container-settings-advice", f"/acme/{SETTINGS}", do=_ADVISE),
    State(
        "container-settings-error",
        f"/fresh/{SETTINGS}",
        do=then(choose("Some tags are protected"), press_in_place("Save", ".summary")),
        status=422,
    ),
    State(
        "container-settings-conflict",
        f"/acme/{SETTINGS}",
        do=then(
            _age_version,
            choose("All tags are protected"),
            press_in_place("Save", ".conflict"),
        ),
        status=409,
    ),
    State(
        "container-settings-suspend",
        f"/orchard/{SETTINGS}",
        do=then(_EDIT, press_in_place("Save", ".question")),
        status=409,
    ),
    State("members", "/acme/settings/members/"),
    State("members-member", "/acme/settings/members/", BOB),
    State("members-alone", "/fresh/settings/members/"),
    State("members-many", "/crowd/settings/members/"),
    State("members-error", "/acme/settings/members/", do=press("Invite"), status=422),
    State(
        "members-invited",
        "/paused/settings/members/",
        do=press("Invite", {"Name or e-mail address": "dana"}),
    ),
    State("change-role", "/acme/settings/members/{bob}/role/"),
    State("member-menu", "/acme/settings/members/", do=click("td .icon-button")),
    State(
        "remove-member-dialog",
        "/acme/settings/members/",
        do=then(
            click("tr:nth-child(2) .icon-button"),
            click(".menu:popover-open .danger"),
            wait_for("dialog"),
        ),
    ),
    State("remove-member", "/acme/settings/members/{carol}/remove/"),
    State("leave", "/acme/settings/members/{alice}/remove/"),
    State("make-password-link", "/acme/settings/members/{olga}/password-link/"),
    State("make-password-link-refused", "/acme/settings/members/{bob}/password-link/"),
    State(
        "make-password-link-made",
        "/acme/settings/members/{olga}/password-link/",
        do=press("Make a password link"),
    ),
    State("access-tokens", "/acme/settings/access-tokens/"),
    State("access-tokens-auditor", "/acme/settings/access-tokens/", OLGA),
    State("access-tokens-empty", "/fresh/settings/access-tokens/"),
    State("access-tokens-many", "/crowd/settings/access-tokens/"),
    State(
        "access-tokens-error",
        "/acme/settings/access-tokens/",
        do=press("Create access token"),
        status=422,
    ),
    State(
        "access-token-created-long",
        "/paused/settings/access-tokens/",
        do=then(fill({"Name": "it's " + "w" * 95}), choose("Audit"), press("Create access token")),
    ),
    State(
        "access-token-created",
        "/paused/settings/access-tokens/",
        do=then(fill({"Name": "ci"}), choose("Pull"), press("Create access token")),
    ),
    State(
        "access-token-created-limited",
        "/paused/settings/access-tokens/",
        do=then(
            fill({"Name": "deploys", "Only these repositories": "api-*\nteam/**"}),
            choose("Push-only"),
            press("Create access token"),
        ),
    ),
    State("revoke-access-token", "/acme/settings/access-tokens/{token}/revoke/"),
    State("workspace-settings", "/acme/settings/"),
    State("workspace-settings-member", "/acme/settings/", BOB),
    State("workspace-settings-prefixes", "/crowd/settings/"),
    State("packages-settings", "/acme/settings/packages/"),
    # The site.
    State("site-status", "/statusz", SAM),
    State("site-workspaces", "/admin/workspaces/", SAM),
    State("site-workspaces-error", "/admin/workspaces/", SAM, press("Create"), 422),
    State("site-archive-workspace", "/admin/workspaces/{acme}/archive/", SAM),
    State("site-unarchive-workspace", "/admin/workspaces/{acme}/unarchive/", SAM),
    State("site-hand-over-workspace", "/admin/workspaces/{acme}/hand-over/", SAM),
    State(
        "site-hand-over-workspace-error",
        "/admin/workspaces/{acme}/hand-over/",
        SAM,
        press("Hand over", {"New admin": "nobody"}),
        422,
    ),
    State("site-people", "/admin/people/", SAM),
    State("site-people-none", "/admin/people/?q=zzz", SAM),
    State("site-deactivate-person", "/admin/people/{alice}/deactivate/", SAM),
    State(
        "site-deactivate-person-error",
        "/admin/people/{alice}/deactivate/",
        SAM,
        press("Deactivate", {"Reason (recorded in the lock log) required": "She left"}),
        422,
    ),
    State("site-reactivate-person", "/admin/people/{gone}/reactivate/", SAM),
    State("archived-workspace", "/attic/"),
    State("archived-settings", "/attic/settings/packages/containers/"),
    State("site-registry-missing", "/admin/registry/", SAM),
    State("site-registry", "/admin/registry/", SAM, settings=_REGISTRY),
    State(
        "site-registry-checked",
        "/admin/registry/",
        SAM,
        press("Check the connection"),
        settings=_REGISTRY,
    ),
    State("site-registry-connect", "/admin/registry/add/", SAM),
    State(
        "site-registry-connect-error",
        "/admin/registry/add/",
        SAM,
        press("Connect and check"),
        422,
    ),
    State("site-registry-other", "/admin/registry/{registry}/", SAM),
    State("site-registry-remove", "/admin/registry/{registry}/remove/", SAM),
    State("site-registry-move", "/admin/registry/move/?registry={registry}", SAM),
    State("site-prefixes", "/admin/prefixes/", SAM),
    State("site-prefixes-error", "/admin/prefixes/", SAM, press("Add"), 422),
    State("site-remove-prefix", "/admin/prefixes/{prefix}/remove/", SAM),
    State("site-single-sign-on", "/admin/single-sign-on/", SAM, settings=_PROVIDER),
    State("site-single-sign-on-error", "/admin/single-sign-on/", SAM, press("Add"), 422),
    State("site-remove-group-role", "/admin/single-sign-on/{group_role}/remove/", SAM),
    State("site-not-allowed", "/admin/prefixes/", BOB, status=403),
    # Everything else.
    State("guides", "/docs/", STRANGER),
    *(State(f"guide-{name}", f"/docs/{name}/", STRANGER) for name in GUIDES),
    State("api-reference", "/api/v1/docs", max_bytes=150_000),
    State("error-not-found", "/nowhere/", status=404),
    State("error-not-found-in-workspace", "/acme/nowhere/", status=404),
    State("error-not-allowed", "/acme/locked-tags/{locked}/delete/", BOB, status=403),
    State(
        "error-of-our-own", "/acme/", status=500, broken="immutability.pages.overview.read_policy"
    ),
    State(
        "error-no-database",
        "/acme/",
        status=503,
        broken="immutability.pages.overview.read_policy",
        error=OperationalError,
    ),
)
