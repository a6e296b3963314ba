"""What holds for the HTML of every page: headings, labels, ids, tables, and no inline script."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from containers.models import Repository as KnownRepository
from containers.models import Tag as TagRecord
from containers.prefixes import create_workspace
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from tests.conftest import AA, BB, SEMVER, make_member, protect_workspace
from tests.immutability.making import make_lock
from tests.page import Browser, Element, Page, Typed, parse, read_errors, read_page
from tests.workspaces.log.tampering import write_at
from tests.workspaces.pages.people import PEOPLE_PAGES
from workspaces.access import SYSTEM, Actor, ActorKind, Origin, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import AccessToken, User, Workspace

INSERT_RULE = "Insert the rule Production ^prod$ Only the tag prod"
INSERT_EXCEPTION = "Insert the exception Moving latest ^latest$ Only the tag latest"
SETTINGS = "/acme/settings/packages/containers/"
TOKENS = "/acme/settings/access-tokens/"
SIGN_IN = "/accounts/login/"

STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


@dataclass
class Site:
    """A workspace with data in it, and an admin's browser."""

    admin: Browser
    workspace: Workspace
    protect: Callable[..., Policy]

    def lock(self, tag: str) -> LockedTag:
        return LockedTag.objects.get(workspace=self.workspace, tag=tag)

    def event(self, kind: EventKind) -> str:
        """Append an event that has something in every field, and return its address."""
        event = Event(
            kind,
            "acme",
            "acme/api",
            "v1.0.0",
            digest=AA,
            other_digest=BB,
            rule_name=SEMVER.name,
            rule_pattern=SEMVER.pattern,
            settings_version=1,
            reason="Because",
            details={"before": {"protection": "all"}, "after": {"protection": "none"}, "count": 1},
        )
        actor = Actor("dana", ActorKind.REGISTRY, Origin("192.0.2.7", "docker/28.0"))
        with transaction.atomic():
            return f"/acme/lock-log/{append_events([event], actor=actor)[0].ref}"


@pytest.fixture(scope="module")
def kept_alice(kept_rows: None) -> User:
    """The admin of a workspace that has something to show."""
    acme = create_workspace("acme", "Acme", actor=SYSTEM)
    alice = make_member(acme, "alice", Role.ADMIN)
    protect_workspace(acme, Protection.SOME, SEMVER)
    for tag, state in (("v1.0.0", "locked"), ("v1.0.1", "reserved"), ("v2.0.0", "claimed")):
        make_lock(acme, tag, state)
        write_at(timezone.now(), tag=tag, digest=AA)
    return alice


def open_site(admin: User) -> Site:
    client = Client()
    client.force_login(admin)
    return Site(Browser(client), Workspace.objects.get(slug="acme"), protect_workspace)


@pytest.fixture
def site(db: None, kept_alice: User) -> Site:
    return open_site(kept_alice)


def save_settings(site: Site, status: int, **typed: str | list[str]) -> Page:
    site.admin.open(SETTINGS)
    return site.admin.press("Save", status, **typed)


def save_over_another(site: Site) -> Page:
    site.admin.open(SETTINGS)
    site.protect(site.workspace, Protection.ALL, SEMVER)
    return site.admin.press("Save", 409)


def edit(site: Site, button: str) -> Page:
    site.admin.open(SETTINGS)
    return site.admin.press(button, rule_name=["A", ".*"], rule_pattern=["[", ".*"])


def open_access_tokens(site: Site) -> Page:
    create_access_token(site.workspace, "ci", list(Scope), actor=SYSTEM)
    AccessToken.objects.update(expires_at=timezone.now())
    create_access_token(None, "main", [Scope.REGISTRY], actor=SYSTEM)
    return site.admin.open(TOKENS)


def create_token(site: Site, status: int, **typed: Typed) -> Page:
    site.admin.open(TOKENS)
    return site.admin.press("Create access token", status, **{"name": "ci", **typed})


def open_revocation(site: Site) -> Page:
    open_access_tokens(site)
    return site.admin.follow("Revoke ci")


def try_patterns(site: Site) -> Page:
    site.admin.open(SETTINGS)
    return site.admin.press("Try", sample_tags="v1.0.0\nlatest\n?\nxv1.0.0")


def ask(site: Site, tag: str, action: str = "delete", button: str = "", **typed: str) -> Page:
    page = site.admin.open(f"/acme/locked-tags/{site.lock(tag).id}/{action}/")
    return site.admin.press(button, 422, **typed) if button else page


def show_mutable(site: Site) -> str:
    """Let the registry have a tag that nothing has locked; return what a form calls it."""
    TagRecord.objects.get_or_create(
        workspace=site.workspace, repository="acme/api", name="latest", digest=AA
    )
    return f"acme/api:latest mutable {AA}"


def open_repository(site: Site, query: str = "") -> Page:
    show_mutable(site)
    return site.admin.open(f"/acme/repositories/acme/api/{query}")


def open_mutable(site: Site) -> Page:
    show_mutable(site)
    return site.admin.open("/acme/repositories/acme/api:latest/")


def ask_about_mutable(site: Site) -> Page:
    show_mutable(site)
    return site.admin.open("/acme/repositories/acme/api:latest/delete/")


def choose_tags(site: Site, button: str = "Delete tags…") -> Page:
    keys = [show_mutable(site), f"acme/api:v1.0.0 locked {AA}", f"acme/api:v1.0.1 locked {AA}"]
    open_repository(site)
    return site.admin.press(button, tag=keys)


def change_tags(site: Site, status: int = 200, **typed: str) -> Page:
    choose_tags(site)
    return site.admin.press("Delete 1 tag", status, **typed)


def ask_who_may_pull(site: Site) -> Page:
    KnownRepository.objects.get_or_create(workspace=site.workspace, name="acme/api")
    return site.admin.open("/acme/repositories/acme/api/-/visibility/")


def choose_nothing(site: Site) -> Page:
    ask_who_may_pull(site)
    return site.admin.press("Save", 422, visibility=None)


def list_repositories(site: Site) -> Page:
    for name in ("acme/api", "acme/web"):
        KnownRepository.objects.update_or_create(
            workspace=site.workspace, name=name, defaults={"is_public": True}
        )
    return site.admin.open("/acme/repositories/")


def open_home_of_several(site: Site) -> Page:
    add_member(site.workspace, User.objects.create_user("carol"), Role.ADMIN, actor=SYSTEM)
    other = Workspace.objects.create(slug="globex", name="Globex")
    add_member(other, User.objects.get(username="alice"), Role.MEMBER, actor=SYSTEM)
    return site.admin.open("/")


def open_as_member(site: Site, path: str, status: int = 200) -> Page:
    bob = User.objects.create_user("bob")
    add_member(site.workspace, bob, Role.MEMBER, actor=SYSTEM)
    client = Client()
    client.force_login(bob)
    return Browser(client).open(path, status)


def sign_in_wrongly(site: Site) -> Page:
    stranger = Browser(Client())
    stranger.open(SIGN_IN)
    return stranger.press("Sign in", username="alice", password="wrong")


def empty(site: Site, path: str) -> Page:
    """Open a page of a workspace in which nothing has happened."""
    globex = Workspace.objects.create(slug="globex", name="Globex")
    mallory = User.objects.create_user("mallory")
    # Not through the action: that would be an event.
    globex.memberships.create(user=mallory, role="admin")
    client = Client()
    client.force_login(mallory)
    return Browser(client).open(path)


def make_checkpoint(site: Site) -> Page:
    site.admin.open("/acme/lock-log/checkpoint/")
    return site.admin.press("Make a checkpoint now")


def break_down(site: Site) -> Page:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("immutability.pages.overview.read_policy", None)
        site.admin.client.raise_request_exception = False
        return site.admin.open("/acme/", 500)


def send_to_wrong_host(site: Site) -> Page:
    return read_page(site.admin.client.get("/", headers={"Host": "evil.example"}), 400)


def send_without_token(site: Site) -> Page:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="alice"))
    return read_page(client.post(SETTINGS, {}), 403)


BAD_EXCEPTIONS = {"exception_name": ["n" * 65, "A", "a"], "exception_pattern": ["[", "", "v*"]}
LONG = {"rule_name": ["n" * 65, "A", "a"], "rule_pattern": ["[", "", "v"]}

PAGES: dict[str, Callable[[Site], Page]] = {
    "overview": lambda site: site.admin.open("/acme/"),
    "overview, empty": lambda site: empty(site, "/globex/"),
    "home": open_home_of_several,
    "workspace settings": lambda site: site.admin.open("/acme/settings/"),
    "guides": lambda site: site.admin.open("/docs/"),
    "packages": lambda site: site.admin.open("/acme/settings/packages/"),
    "access tokens": open_access_tokens,
    "access tokens, empty": lambda site: empty(site, TOKENS.replace("acme", "globex")),
    "access tokens, created": lambda site: create_token(site, 200, scopes=list(Scope)),
    "access tokens, errors, error": lambda site: create_token(
        site, 422, name="a:b", scopes=None, expiry="date", expires_on="x"
    ),
    "revoke access token": open_revocation,
    **{
        name: lambda site, look=look: look(site.admin, site.workspace)  # type: ignore[misc]
        for name, look in PEOPLE_PAGES.items()
    },
    "settings": lambda site: site.admin.open(SETTINGS),
    "settings, new": lambda site: empty(site, SETTINGS.replace("acme", "globex")),
    "settings, saved": lambda site: save_settings(site, 200, refuse_identical_pushes="on"),
    "settings, a row more": lambda site: edit(site, "Empty rule"),
    "settings, a row less": lambda site: edit(site, "Remove rule 1"),
    "settings, an example": lambda site: edit(
        site, "Insert the rule Production ^prod$ Only the tag prod"
    ),
    "settings, tested": try_patterns,
    "settings, errors in rules": lambda site: save_settings(site, 422, **LONG),
    "settings, an exception": lambda site: edit(
        site, "Insert the exception Moving latest ^latest$ Only the tag latest"
    ),
    "settings, errors in exceptions": lambda site: save_settings(site, 422, **BAD_EXCEPTIONS),
    "settings, no rule": lambda site: save_settings(site, 422, rule_name="", rule_pattern=""),
    "settings, no option": lambda site: save_settings(site, 422, protection=""),
    "settings, conflict": save_over_another,
    "settings, locks suspended": lambda site: save_settings(site, 409, protection="none"),
    "settings, member": lambda site: open_as_member(site, SETTINGS),
    "repositories": list_repositories,
    "repositories, member": lambda site: open_as_member(site, "/acme/repositories/"),
    "repositories, none": lambda site: site.admin.open("/acme/repositories/?q=nothing"),
    "repositories, empty": lambda site: empty(site, "/globex/repositories/"),
    "repositories, bad filter": lambda site: site.admin.open("/acme/repositories/?visibility=x"),
    "visibility": ask_who_may_pull,
    "visibility, error": choose_nothing,
    "repository": open_repository,
    "repository, member": lambda site: open_as_member(site, "/acme/repositories/acme/api/"),
    "repository, none": lambda site: open_repository(site, "?q=nothing"),
    "repository, another": lambda site: open_repository(site, "?q=acme/web:v1"),
    "repository, bad filter": lambda site: open_repository(site, "?state=x&sort=x"),
    "delete a mutable tag": ask_about_mutable,
    "change tags": choose_tags,
    "change tags, none": lambda site: choose_tags(site, "Free names…"),
    "change tags, error": lambda site: change_tags(site, 422, reason=""),
    "changed tags": lambda site: change_tags(site, reason="Because"),
    "tag, mutable": open_mutable,
    "locked tags": lambda site: site.admin.open("/acme/locked-tags/"),
    "locked tags, member": lambda site: open_as_member(site, "/acme/locked-tags/"),
    "locked tags, none": lambda site: site.admin.open("/acme/locked-tags/?q=nothing"),
    "locked tags, empty": lambda site: empty(site, "/globex/locked-tags/"),
    "locked tags, bad filter": lambda site: site.admin.open("/acme/locked-tags/?state=x"),
    "delete": lambda site: ask(site, "v1.0.0"),
    "delete, error": lambda site: ask(site, "v1.0.0", button="Delete"),
    "delete, no choice, error": lambda site: ask(
        site, "v1.0.0", button="Delete", name_after="", reason="Because"
    ),
    "free": lambda site: ask(site, "v1.0.1"),
    "free, error": lambda site: ask(site, "v1.0.1", button="Free the name"),
    "drop": lambda site: ask(site, "v2.0.0"),
    "release": lambda site: ask(site, "v1.0.0", "release"),
    "release, error": lambda site: ask(site, "v1.0.0", "release", "Release"),
    "lock log": lambda site: site.admin.open("/acme/lock-log/"),
    "lock log, none": lambda site: site.admin.open("/acme/lock-log/?tag=nothing"),
    "lock log, empty": lambda site: empty(site, "/globex/lock-log/"),
    "lock log, bad filter": lambda site: site.admin.open("/acme/lock-log/?kind=x&since=x"),
    "lock log, a place where nothing is": lambda site: site.admin.open(
        "/acme/lock-log/?before=000000000000"
    ),
    "lock log, member": lambda site: open_as_member(site, "/acme/lock-log/"),
    "checkpoint": lambda site: site.admin.open("/acme/lock-log/checkpoint/"),
    "checkpoint, made": make_checkpoint,
    "checkpoint, empty": lambda site: empty(site, "/globex/lock-log/checkpoint/"),
    "export": lambda site: site.admin.open("/acme/lock-log/export/?tag=v1.0.0&since=2026-01-01"),
    "export, error": lambda site: site.admin.open("/acme/lock-log/export/download/?since=x", 422),
    "tag": lambda site: site.admin.open("/acme/repositories/acme/api:v1.0.0/"),
    "tag, deleted": lambda site: site.admin.open("/acme/repositories/acme/api:v1.0.1/"),
    "tag, claimed": lambda site: site.admin.open("/acme/repositories/acme/api:v2.0.0/"),
    "tag, unknown": lambda site: site.admin.open("/acme/repositories/acme/api:other/"),
    "tag, on a day": lambda site: site.admin.open(
        f"/acme/repositories/acme/api:v1.0.0/?on={timezone.now():%Y-%m-%d}&time=00:00"
    ),
    "tag, on a day before": lambda site: site.admin.open(
        "/acme/repositories/acme/api:v1.0.0/?on=2020-01-01"
    ),
    "tag, error": lambda site: site.admin.open(
        "/acme/repositories/acme/api:v1.0.0/?on=yesterday&time=x"
    ),
    **{
        f"event {kind}": lambda site, kind=kind: site.admin.open(site.event(kind))  # type: ignore[misc]
        for kind in EventKind
    },
    "what moved": lambda site: site.admin.open(f"{site.event(EventKind.SETTINGS_CHANGED)}/moved/"),
    "what moved, bad address": lambda site: site.admin.open(
        f"{site.event(EventKind.SETTINGS_CHANGED)}/moved/?push=x"
    ),
    "sign-in": lambda _: Browser(Client()).open("/acme/"),
    "sign-in, wrong": sign_in_wrongly,
    "no such page": lambda site: site.admin.open("/nowhere/", 404),
    "not allowed": lambda site: open_as_member(
        site, f"/acme/locked-tags/{site.lock('v1.0.0').id}/delete/", 403
    ),
    "form expired": send_without_token,
    "bad request": send_to_wrong_host,
    "a bug": break_down,
}

WITH_ERRORS = [
    name
    for name in PAGES
    if name.endswith((", error", ", bad filter", ", wrong", ", no rule", ", no option"))
] + ["settings, errors in rules", "settings, errors in exceptions"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_well_made(site: Site, name: str) -> None:
    page = PAGES[name](site)
    assert list(find_problems(page)) == []
    _assert_no_inline_script_or_style(page)
    _assert_loaded_once(page)
    _assert_icons_are_there(page)
    if name in WITH_ERRORS:
        _assert_errors_are_said(page)


def _assert_no_inline_script_or_style(page: Page) -> None:
    assert page.find_all("style") == []
    assert page.find_all(style=True) == []
    for script in page.find_all("script"):
        assert script["src"].startswith("/static/")
        assert script.raw_text == ""
    for element in page.walk():
        handlers = [name for name in element.attributes if name.startswith(("on", "hx-on"))]
        assert handlers == [], element
        for name in ("href", "src", "action", "formaction"):
            assert not (element.get(name) or "").lower().startswith(("javascript:", "data:"))
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in page.headers["Content-Security-Policy"].split(";")
    )
    assert policy == STRICT


def test_headers_that_keep_a_page_to_itself(site: Site) -> None:
    headers = site.admin.open(SETTINGS).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_htmx_runs_nothing_from_strings(site: Site) -> None:
    config = site.admin.open(SETTINGS).find("meta", name="htmx-config")["content"]
    assert '"allowEval": false' in config
    assert '"includeIndicatorStyles": false' in config


def test_scripts_are_loaded_only_where_they_are_used(site: Site) -> None:
    everywhere = ["dialog.js", "copy.js", "local-time.js"]
    assert load_scripts(site, SETTINGS) == [*everywhere, "htmx-2.min.js", "settings.js"]
    assert load_scripts(site, "/acme/settings/") == everywhere


def load_scripts(site: Site, path: str) -> list[str]:
    scripts = site.admin.open(path).find_all("script")
    return [script["src"].rsplit("/", 1)[1] for script in scripts]


def _assert_errors_are_said(page: Page) -> None:
    """Assert that an error is said in a summary and beside its field."""
    if page.path == SIGN_IN:
        # Which of the two fields is wrong, nobody may know: neither is marked.
        assert page.title.startswith("Error: ")
        return
    assert read_errors(page)


def _assert_loaded_once(page: Page) -> None:
    loaded = [script["src"] for script in page.find_all("script")]
    assert len(loaded) == len(set(loaded))


def _assert_icons_are_there(page: Page) -> None:
    assert {use["href"].partition("#")[2] for use in page.find_all("use")} <= _read_icons()


@cache
def _read_icons() -> set[str]:
    return set(re.findall(r'<symbol id="([^"]+)"', Path("static/icons.svg").read_text()))


# What makes a page well made.


def find_problems(page: Page) -> Iterator[str]:
    """Yield what is wrong with a page."""
    yield from find_problems_of_the_whole(page)
    ids = [element["id"] for element in page.find_all(id=True)]
    yield from (f"the id {each!r} is there twice" for each in set(ids) if ids.count(each) > 1)
    for element in page.walk():
        yield from find_dead_references(element, set(ids))
    for control in [*page.find_all("input"), *page.find_all("textarea"), *page.find_all("select")]:
        yield from find_problems_of_control(control, page)
    for table in page.find_all("table"):
        yield from find_problems_of_table(table)
    for fieldset in page.find_all("fieldset"):
        legends = [child for child in fieldset.children if isinstance(child, Element)][:1]
        if not legends or legends[0].tag != "legend" or not legends[0].text:
            yield f"{fieldset} has no legend"


def find_problems_of_the_whole(page: Page) -> Iterator[str]:
    if page.find("html").get("lang") != "en":
        yield "the page does not say its language"
    if not page.title.endswith(" – Taglock") or page.title.startswith(" "):
        yield f"the title is {page.title!r}"
    headings = [int(each.tag[1]) for each in page.main.walk() if each.tag in HEADINGS]
    if headings.count(1) != 1 or len(page.find_all("h1")) != 1:
        yield f"the headings are {headings}: there has to be one h1"
    if len(page.find_all("main")) != 1:
        yield "there is not one main"
    if len(page.find_all(autofocus=True)) > 1:
        yield "two elements want the focus"
    for each in page.find_all(tabindex=True):
        if each["tabindex"] not in ("0", "-1"):
            yield f"{each} changes the order of the focus"
    yield from (f"{each} has no alt" for each in page.find_all("img", alt=False))
    for tag in ("a", "button", "summary", "legend", "label", "h1", "h2", "h3", "th", "caption"):
        yield from (f"{each} says nothing" for each in page.find_all(tag) if not each.text)


HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
REFERENCES = (
    "for",
    "form",
    "aria-describedby",
    "aria-labelledby",
    "aria-controls",
    "popovertarget",
)


def find_dead_references(element: Element, ids: set[str]) -> Iterator[str]:
    for name in REFERENCES:
        for target in (element.get(name) or "").split():
            if target not in ids:
                yield f"{name} of {element} leads nowhere"
    link = element.get("href") or ""
    if link.startswith("#") and link[1:] not in ids:
        yield f"{element} leads nowhere"


def find_problems_of_control(control: Element, page: Page) -> Iterator[str]:
    if control.get("type") == "hidden":
        return
    labels = page.find_all("label", for_=control["id"]) if control.get("id") else []
    if len(labels) != 1:
        yield f"{control} has {len(labels)} labels"
    if not control.get("name"):
        yield f"{control} has no name"
    is_choice = control.get("type") in ("radio", "checkbox")
    if is_choice and not any(each.tag == "fieldset" for each in control.ancestors):
        yield f"{control} is in no fieldset"


def find_problems_of_table(table: Element) -> Iterator[str]:
    if len(table.find_all("caption")) != 1:
        yield f"{table} has no caption"
    for heading in table.find_all("th"):
        if heading.get("scope") not in ("col", "row"):
            yield f"{heading} has no scope"
    widths = {
        len([cell for cell in row.children if isinstance(cell, Element)])
        for row in table.find_all("tr")
    }
    if len(widths) != 1:
        yield f"{table} has rows of {widths} cells"


# The checks themselves find what they are for.


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<input id=a name=a>", "has 0 labels"),
        ("<label for=b>B</label>", "leads nowhere"),
        ("<p id=a></p><p id=a></p>", "is there twice"),
        ("<table><tr><th scope=col>A</th></tr></table>", "has no caption"),
        ("<table><caption>A</caption><tr><th>A</th></tr></table>", "has no scope"),
        ("<p aria-describedby=gone></p>", "leads nowhere"),
        ('<a href="#">A</a>', "leads nowhere"),
        ("<h1>B</h1>", "there has to be one h1"),
        ("<fieldset><p>A</p></fieldset>", "has no legend"),
        ("<button></button>", "says nothing"),
    ],
)
def test_a_bad_page_is_found(html: str, found: str) -> None:
    whole = f"<html lang=en><title>A – Taglock</title><main><h1>A</h1>{html}</main></html>"
    assert any(found in problem for problem in find_problems(parse(whole)))


@pytest.mark.parametrize("html", ["<p><b></p>", "<p class=a class=b></p>", "<p>", "</p>"])
def test_html_that_is_not_well_formed_is_found(html: str) -> None:
    with pytest.raises(AssertionError):
        parse(html)


def test_what_has_data_in_it_is_shown(site: Site) -> None:
    assert len(site.admin.open("/acme/locked-tags/").rows) == 3
    for path in ("/acme/", "/acme/lock-log/"):
        assert len(site.admin.open(path).main.find_all(class_="story-row")) >= 4
