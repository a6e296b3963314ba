"""The page of access tokens: list, create and show once, revoke."""

import os
import subprocess
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
import yaml
from django.utils import timezone

from tests.page import Browser, Page, Typed, read_errors
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Scope
from workspaces.access_tokens import TOKENS_PER_PAGE, find_access_token
from workspaces.actions.access_tokens import create_access_token, revoke_access_token
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Workspace

URL = "/acme/settings/access-tokens/"
CREATE = "Create access token"


def make(workspace: Workspace | None, name: str, *scopes: Scope, **options: Any) -> AccessToken:
    create_access_token(workspace, name, scopes or [Scope.PULL], actor=SYSTEM, **options)
    return AccessToken.objects.get(workspace=workspace, name=name, revoked_at=None)


def create(browser: Browser, status: int = 200, /, **typed: Typed) -> Page:
    """Fill the form in, and press its button."""
    browser.open(URL)
    return browser.press(CREATE, status, **{"name": "ci", "scopes": ["push"], **typed})


def read_secret(page: Page) -> str:
    """Return the secret that the page shows."""
    return page.by_id("secret").raw_text


# The list.


def test_the_settings_lead_to_the_page(acme: Workspace, admin: Browser) -> None:
    admin.open("/acme/settings/")
    page = admin.follow("Access tokens")
    assert page.path == URL
    assert page.heading == "Access tokens"
    nav = page.find("nav", aria_label="Workspace settings")
    assert nav.find(aria_current="page").text == "Access tokens"


def test_a_member_is_not_led_there_and_not_let_in(acme: Workspace, member: Browser) -> None:
    page = member.open("/acme/settings/")
    assert not [link for link in page.find_all("a") if link.text == "Access tokens"]
    page = member.open(URL, 403)
    assert "Access tokens are for admins and auditors" in page.main.text


def test_an_admin_without_any_is_told_what_to_create(acme: Workspace, admin: Browser) -> None:
    empty = admin.open(URL).main.find(class_="empty")
    assert "a pipeline that pushes needs Push" in empty.text


def test_a_token_is_listed_with_what_it_may_and_when(acme: Workspace, admin: Browser) -> None:
    token = make(
        acme, "my ci", Scope.PULL, Scope.AUDIT, expires_at=datetime(2999, 12, 31, 12, tzinfo=UTC)
    )
    created = f"{token.created_at:%Y-%m-%d %H:%M} UTC by taglock"
    may = "Pull: pull images Audit: read settings, locked tags and the lock log"
    expected = ["my ci", may, created, "2999-12-31 12:00 UTC", "never", "Revoke my ci"]
    page = admin.open(URL)
    assert page.rows == [expected]
    assert page.main.find("caption").text == "1 access token, latest first"
    used = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    AccessToken.objects.update(last_used_at=used, expires_at=None)
    assert admin.open(URL).rows[0][3:5] == ["never", "2026-02-03 04:05 UTC"]


def test_an_expired_token_is_said_to_be(acme: Workspace, admin: Browser) -> None:
    make(acme, "ci")
    AccessToken.objects.update(expires_at=datetime(2026, 2, 3, 4, 5, tzinfo=UTC))
    assert admin.open(URL).rows[0][3] == "expired 2026-02-03 04:05 UTC"


def test_revoked_tokens_and_those_of_others_are_not_listed(
    acme: Workspace, globex: Workspace, admin: Browser
) -> None:
    revoke_access_token(acme, make(acme, "gone").id, actor=SYSTEM)
    make(globex, "theirs")
    make(acme, "ours")
    assert [row[0] for row in admin.open(URL).rows] == ["ours"]


def test_a_token_for_every_workspace_is_shown_and_cannot_be_touched(
    acme: Workspace, admin: Browser, auditor: Browser
) -> None:
    token = make(None, "main", Scope.REGISTRY)
    said = "main for every workspace; managed by the operator"
    assert [(row[0], row[-1]) for row in admin.open(URL).rows] == [(said, "")]
    assert auditor.open(URL).rows[0][0] == said
    # When it is used is others' business.
    AccessToken.objects.update(last_used_at=datetime(2026, 2, 3, 4, 5, tzinfo=UTC))
    assert admin.open(URL).rows[0][4] == "–"
    with nothing_written():
        admin.open(f"{URL}{token.id}/revoke/", 404)
        assert admin.client.post(f"{URL}{token.id}/revoke/").status_code == 404


def test_an_auditor_sees_all_and_can_do_nothing(acme: Workspace, auditor: Browser) -> None:
    token = make(acme, "ci")
    page = auditor.open(URL)
    assert [row[0] for row in page.rows] == ["ci"]
    assert "Only admins of Acme" in page.main.text
    assert page.main.find_all("form") == []
    links = page.main.find(class_="settings-page").find_all("a")
    assert [link["class"] for link in links] == ["guide-link"]
    with nothing_written():
        assert auditor.client.post(URL, {"name": "x", "scopes": "pull"}).status_code == 403
        assert auditor.client.post(f"{URL}{token.id}/revoke/").status_code == 403
        auditor.open(f"{URL}{token.id}/revoke/", 403)


def test_an_auditor_without_any_is_told_who_creates_them(acme: Workspace, auditor: Browser) -> None:
    empty = auditor.open(URL).main.find(class_="empty")
    assert empty.text == "No access tokens yet. An admin of Acme can create one."


def test_many_are_shown_page_by_page(acme: Workspace, admin: Browser) -> None:
    AccessToken.objects.bulk_create(
        AccessToken(workspace=acme, name=f"{number}", token_hash=f"{number}", scopes=["pull"])
        for number in range(TOKENS_PER_PAGE + 1)
    )
    page = admin.open(URL)
    assert len(page.rows) == TOKENS_PER_PAGE
    assert page.main.find("caption").text.endswith("with more on the next page")
    assert [row[0] for row in admin.follow("Older access tokens").rows] == ["0"]


def test_a_scope_that_nobody_knows_any_more_is_left_out(acme: Workspace, admin: Browser) -> None:
    make(acme, "ci")
    AccessToken.objects.update(scopes=["pull", "everything"])
    assert admin.open(URL).rows[0][1] == "Pull: pull images"


# Create.


def test_a_new_token_expires_in_ninety_days_unless_told_otherwise(
    acme: Workspace, admin: Browser
) -> None:
    page = admin.open(URL)
    form = page.read_form(page.form_of(page.find_with_text("button", CREATE)))
    del form["csrfmiddlewaretoken"]
    assert form == {"name": [""], "repositories": [""], "expiry": ["90"], "expires_on": [""]}


def test_the_secret_is_shown_in_the_answer_and_works(acme: Workspace, admin: Browser) -> None:
    page = create(admin, scopes=["push", "audit"])
    token = AccessToken.objects.get()
    assert find_access_token(read_secret(page)) == token
    assert (token.name, token.scopes, token.created_by) == ("ci", ["push", "audit"], "alice")
    assert page.heading == "Access token created"
    assert "shown only once" in page.main.text
    assert page.focused_id == "secret"
    assert "no-store" in page.headers["Cache-Control"]
    assert page.facts["Name"] == "ci"
    assert page.facts["Created"].endswith("by alice")


def test_the_secret_is_shown_once(acme: Workspace, admin: Browser) -> None:
    page = create(admin)
    secret = read_secret(page)
    # Sending the form again is what reloading does.
    again = create(admin, 422)
    assert read_errors(again) == {"id_name": "Name: There is an access token of this name already."}
    for shown in (again, admin.open(URL), admin.open("/acme/lock-log/"), admin.open("/acme/")):
        assert secret not in shown.raw_text
        assert not shown.find_all(id="secret")
    kept = [*admin.client.session.items()]
    assert secret not in str(kept)
    assert AccessToken.objects.count() == 1


def snippets(page: Page) -> dict[str, str]:
    """Return what can be copied, by the heading that it stands under."""
    return {
        section.find("h2").text: section.find("pre").raw_text
        for section in page.main.find_all("section", class_="snippet")
    }


LOGINS = ["Docker", "GitHub Actions", "GitLab CI", "Kubernetes", "Kubernetes: the pods that use it"]
ASKS, LISTS = "Ask before a push", "List the locked tags"


@pytest.mark.parametrize(
    ("url", "name", "login"),
    [
        (
            "https://registry.example",
            "ci",
            "docker login registry.example --username acme+ci --password-stdin",
        ),
        (
            "http://127.0.0.1:8000",
            "my ci",
            "docker login 127.0.0.1:8000 --username 'acme+my ci' --password-stdin",
        ),
        (
            "https://r.example:8443",
            "it's $(id)",
            """docker login r.example:8443 --username 'acme+it'"'"'s $(id)' --password-stdin""",
        ),
    ],
)
def test_the_command_to_log_in_can_be_pasted_whatever_the_name(
    acme: Workspace, admin: Browser, settings: Any, url: str, name: str, login: str
) -> None:
    settings.PUBLIC_URL = url
    page = create(admin, name=name)
    assert snippets(page)["Docker"] == f'read -rs TOKEN &&\n  printf %s "$TOKEN" | {login}'
    assert f"acme+{name}" in page.main.text


# What a shell, YAML or GitHub would take for something else.
NAMES = ["ci", "my ci", "it's $(id)", 'a"b', "a #b", "a\\b", "ä", "${{ secrets.X }}", "- a", "%s"]


def run_in_shell(script: str, stdin: str = "", **environment: str) -> list[str]:
    """Run a script with a client in place of docker and kubectl, and return what that is given."""
    client = 'tell() { printf \'%s\\n\' "$@" "$(cat)"; }; docker() { tell "$@"; }; '
    client += 'kubectl() { tell "$@"; }; '
    done = subprocess.run(
        ["bash", "-ec", client + script],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], **environment},
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_each_client_is_told_host_name_and_secret(
    acme: Workspace, admin: Browser, name: str
) -> None:
    page = create(admin, name=name)
    secret, texts = read_secret(page), snippets(page)
    assert list(texts) == LOGINS
    login = ["login", "127.0.0.1:8000", "--username", f"acme+{name}", "--password-stdin", secret]
    assert run_in_shell(texts["Docker"], f"{secret}\n") == login
    (line,) = yaml.safe_load(texts["GitLab CI"])["before_script"]
    assert run_in_shell(line, TAGLOCK_TOKEN=secret) == login
    assert run_in_shell(texts["Kubernetes"], f"{secret}\n")[:-1] == [
        *("create", "secret", "docker-registry", "taglock"),
        "--docker-server=127.0.0.1:8000",
        f"--docker-username=acme+{name}",
        f"--docker-password={secret}",
    ]
    (step,) = yaml.safe_load(texts["GitHub Actions"])
    assert step["with"] == {
        "registry": "127.0.0.1:8000",
        "username": f"acme+{name}".replace("${{", "${{ '${{' }}"),
        "password": "${{ secrets.TAGLOCK_TOKEN }}",
    }
    pods = yaml.safe_load(texts["Kubernetes: the pods that use it"])
    assert pods == {"spec": {"imagePullSecrets": [{"name": "taglock"}]}}


@pytest.mark.parametrize(
    ("scopes", "titles"),
    [
        (["pull"], LOGINS),
        (["push-only"], LOGINS),
        (["registry"], [ASKS]),
        (["audit"], [LISTS]),
        (["admin"], [*LOGINS, LISTS]),
        (list(Scope), [*LOGINS, ASKS, LISTS]),
    ],
)
def test_the_snippets_are_those_that_the_scopes_are_good_for(
    acme: Workspace, admin: Browser, scopes: list[str], titles: list[str]
) -> None:
    texts = snippets(create(admin, scopes=scopes))
    assert list(texts) == titles
    assert "/api/v1/check-push " in texts.get(ASKS, "/api/v1/check-push ")
    assert "/api/v1/workspaces/acme/locked-tags " in texts.get(
        LISTS, "/api/v1/workspaces/acme/locked-tags "
    )


def test_the_secret_is_in_no_snippet(acme: Workspace, admin: Browser) -> None:
    page = create(admin, scopes=list(Scope))
    assert read_secret(page) not in "".join(snippets(page).values())


def test_the_answer_with_the_secret_is_not_compressed(acme: Workspace, admin: Browser) -> None:
    """Beside what the sender chose, a compressed secret could be guessed by the length."""
    body = {"name": "ci", "scopes": "push", "expiry": "90"}
    response = admin.client.post(URL, body, headers={"Accept-Encoding": "gzip, br"})
    assert response.status_code == 200
    assert "Content-Encoding" not in response.headers
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize(("expiry", "days"), [("30", 30), ("90", 90), ("365", 365)])
def test_a_token_expires_after_the_days_that_were_chosen(
    acme: Workspace, admin: Browser, expiry: str, days: int
) -> None:
    create(admin, expiry=expiry)
    expires_at = AccessToken.objects.get().expires_at
    assert expires_at is not None
    assert timedelta() <= timezone.now() + timedelta(days=days) - expires_at < timedelta(minutes=1)


def test_a_token_may_never_expire(acme: Workspace, admin: Browser) -> None:
    page = create(admin, expiry="never")
    assert AccessToken.objects.get().expires_at is None
    assert page.facts["Expires"] == "never"


@pytest.mark.parametrize("days", [0, 1, 400])
def test_a_token_is_valid_until_the_end_of_the_last_day(
    acme: Workspace, admin: Browser, days: int
) -> None:
    day = timezone.now().date() + timedelta(days=days)
    create(admin, expiry="date", expires_on=day.isoformat())
    assert AccessToken.objects.get().expires_at == datetime.combine(day, time.max, UTC)


def test_the_last_day_that_there_is_can_be_chosen(acme: Workspace, admin: Browser) -> None:
    page = create(admin, expiry="date", expires_on="9999-12-31")
    assert page.facts["Expires"] == "9999-12-31 23:59 UTC"


def test_a_token_is_limited_to_the_repositories_that_are_typed(
    acme: Workspace, admin: Browser
) -> None:
    page = create(admin, repositories=" api-* \r\n\r\nteam/**\n")
    assert AccessToken.objects.get().repositories == ["api-*", "team/**"]
    assert page.facts["May"].endswith("Only in api-*, team/**")
    assert admin.open(URL).rows[0][1].endswith("Only in api-*, team/**")
    event = LockEvent.objects.get(kind="token.created")
    facts = admin.open(f"/acme/lock-log/{event.ref}").facts
    assert facts["Repositories"] == "api-*, team/**"


# What is refused, with everything kept as it was typed.

DATE_TOO = "When it expires: Choose On a date, or remove the date."


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"name": ""}, {"id_name": "Name: Enter a name."}),
        ({"name": "   "}, {"id_name": "Name: Enter a name."}),
        (
            {"name": "a:b"},
            {
                "id_name": "Name: Remove the colon: the name becomes part of a user name, and a "
                "colon ends those."
            },
        ),
        (
            {"name": "a\u202eb"},
            {"id_name": "Name: Remove the character U+202E: control characters are not accepted."},
        ),
        (
            {"name": "x" * 101},
            {"id_name": "Name: Ensure this value has at most 100 characters (it has 101)."},
        ),
        (
            {"repositories": "api\nacme/web"},
            {
                "id_repositories": "Only these repositories: "
                '"acme/web" begins with the workspace. Write the name within it: "web".'
            },
        ),
        (
            {"repositories": "api", "scopes": ["admin"]},
            {
                "id_repositories": "Only these repositories: The scope admin is for the whole "
                "workspace. To limit a token to repositories, give it no other scopes than pull, "
                "push, push-only, registry."
            },
        ),
        ({"scopes": None}, {"id_scopes_0": "What it may do: Choose at least one scope."}),
        ({"expiry": None}, {"id_expiry_0": "When it expires: Choose when it expires."}),
        (
            {"expiry": "date"},
            {"id_expires_on": "Last day: Enter the last day on which it is valid."},
        ),
        (
            {"expiry": "date", "expires_on": "2020-01-01"},
            {"id_expires_on": "Last day: This day is in the past. Choose a later one."},
        ),
        (
            {"expiry": "date", "expires_on": "soon"},
            {"id_expires_on": "Last day: Enter a valid date."},
        ),
        ({"expiry": "never", "expires_on": "2999-01-01"}, {"id_expiry_0": DATE_TOO}),
        (
            {"name": "", "scopes": None},
            {
                "id_name": "Name: Enter a name.",
                "id_scopes_0": "What it may do: Choose at least one scope.",
            },
        ),
    ],
    ids=ascii,
)
def test_a_mistake_is_said_beside_its_field(
    acme: Workspace, admin: Browser, typed: dict[str, Typed], said: dict[str, str]
) -> None:
    with nothing_written():
        page = create(admin, 422, **typed)
    assert read_errors(page) == said


@pytest.mark.parametrize("typed", [{"scopes": ["root"]}, {"expiry": "forever"}, {"name": "a\0b"}])
def test_what_no_page_sends_is_refused(
    acme: Workspace, admin: Browser, typed: dict[str, Typed]
) -> None:
    with nothing_written():
        assert read_errors(create(admin, 422, **typed))


def test_nothing_typed_is_lost_by_a_mistake(acme: Workspace, admin: Browser) -> None:
    page = create(
        admin,
        422,
        name="a:b",
        scopes=["push", "admin"],
        repositories="api-*\nteam/**",
        expiry="date",
        expires_on="2999-12-31",
    )
    form = page.read_form(page.form_of(page.find_with_text("button", CREATE)))
    del form["csrfmiddlewaretoken"]
    assert form == {
        "name": ["a:b"],
        "scopes": ["push", "admin"],
        "repositories": ["api-*\nteam/**"],
        "expiry": ["date"],
        "expires_on": ["2999-12-31"],
    }


def test_markup_in_a_name_is_text(acme: Workspace, admin: Browser) -> None:
    name = '"><script>alert(1)</script>'
    assert create(admin, name=name).facts["Name"] == name
    assert admin.open(URL).rows[0][0] == name


# Revoke.


def test_the_list_leads_to_the_question_and_back(acme: Workspace, admin: Browser) -> None:
    make(acme, "ci", Scope.PUSH)
    admin.open(URL)
    page = admin.follow("Revoke ci")
    assert page.heading == "Revoke this access token?"
    assert page.facts["Name"] == "ci"
    assert page.facts["May"] == "Push: pull, push, and delete what is not protected"
    assert admin.follow("Cancel").path == URL
    assert AccessToken.objects.get().revoked_at is None


def test_a_revoked_token_is_gone_from_the_list(acme: Workspace, admin: Browser) -> None:
    secret = create_access_token(acme, "ci", [Scope.PUSH], actor=SYSTEM)
    admin.open(URL)
    admin.follow("Revoke ci")
    page = admin.press("Revoke")
    assert page.path == URL
    assert page.banners == ["ci is revoked and refused from now on."]
    assert page.main.find(class_="empty")
    assert find_access_token(secret) is None
    assert create(admin).heading == "Access token created"


def test_two_admins_who_revoke_the_same_token_are_told_the_same(
    acme: Workspace, admin: Browser
) -> None:
    token = make(acme, "ci")
    admin.open(f"{URL}{token.id}/revoke/")
    revoke_access_token(acme, token.id, actor=SYSTEM)
    with nothing_written():
        page = admin.press("Revoke")
    assert page.banners == ["ci is revoked and refused from now on."]
    admin.open(f"{URL}{token.id}/revoke/", 404)


def test_tokens_of_another_workspace_are_not_there(
    acme: Workspace, globex: Workspace, admin: Browser
) -> None:
    foreign = make(globex, "theirs")
    with nothing_written():
        for token_id in (foreign.id, 999_999, 10**30):
            admin.open(f"{URL}{token_id}/revoke/", 404)
            assert admin.client.post(f"{URL}{token_id}/revoke/").status_code == 404


def test_the_event_of_a_token_is_shown_in_the_log(acme: Workspace, admin: Browser) -> None:
    create(admin, expiry="never")
    page = admin.open("/acme/lock-log/?kind=token.created")
    facts = admin.open(page.main.find("a", class_="story-detail")["href"]).facts
    assert (facts["Token"], facts["Scopes"], facts["Expires at"]) == ("ci", "push", "none")
