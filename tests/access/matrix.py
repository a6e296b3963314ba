"""Who may call what: every address of the site, every method, every kind of caller.

The addresses come from the URL configuration. One that has no line here fails, so that nobody adds
an address without deciding who may use it.
"""

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from tests.conftest import AA
from workspaces.access import Scope

Expected = dict[str, int]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
OF_SCOPES = [f"token {scope.value}" for scope in Scope]
# Tokens that are limited to repositories: to the one that everything here is about, or to others.
LIMITED = {
    "pull here": (Scope.PULL, ["a*"]),
    "push here": (Scope.PUSH, ["web", "api"]),
    "push elsewhere": (Scope.PUSH, ["web", "team/**", "api-*", "*/api"]),
    "push-only here": (Scope.PUSH_ONLY, ["**"]),
    "push-only elsewhere": (Scope.PUSH_ONLY, ["api-*"]),
    "registry here": (Scope.REGISTRY, ["api"]),
    "registry elsewhere": (Scope.REGISTRY, ["web"]),
}
TOKENS = [*OF_SCOPES, *LIMITED]
# Sam is a site administrator, and in no workspace: to each of them a stranger.
CALLERS = ["anonymous", "alice", "bob", "olga", "mallory", "sam", *TOKENS, "token of globex"]
# Of the tokens, those that pages are tried with: no page takes one.
SENT_TO_PAGES = ("token audit", "token admin", "token of globex")
API = "api/v1/"
GATE = "v2/<anything:path>"
IN_WORKSPACE = API + "workspaces/<str:slug>/"

ALICE, BOB, OLGA = "alice", "bob", "olga"
STRANGERS = ("mallory", "sam", "token of globex")
PULL, PUSH, PUSH_ONLY, REGISTRY, AUDIT, ADMIN = OF_SCOPES


def public(status: int = 200) -> Expected:
    """Everybody is answered the same."""
    return dict.fromkeys(CALLERS, status)


def api(*callers: str, status: int = 200) -> Expected:
    """Of the people and tokens of acme, these may; others are told so, strangers are not."""
    expected = dict.fromkeys(CALLERS, 403) | dict.fromkeys(callers, status)
    return expected | {"anonymous": 401} | dict.fromkeys(STRANGERS, 404)


def page(*callers: str, status: int = 200) -> Expected:
    """Of the people of acme, these may. An access token signs nobody in to a page."""
    sign_in = dict.fromkeys(["anonymous", *TOKENS, "token of globex"], 302)
    people = dict.fromkeys((ALICE, BOB, OLGA), 403) | dict.fromkeys(callers, status)
    return sign_in | people | {"mallory": 404, "sam": 404}


def site_admins_page(status: int = 200) -> Expected:
    """Site administrators may, and no one else."""
    return page() | {"mallory": 403, "sam": status}


EVERY_PERSON = (ALICE, BOB, OLGA)
VIEW_SETTINGS = api(*EVERY_PERSON, AUDIT, ADMIN)
VIEW_EVENTS = api(*EVERY_PERSON, AUDIT)
VIEW_TOKENS = api(ALICE, OLGA, ADMIN)
VIEW_ALL_EVENTS = api(ALICE, OLGA, AUDIT)
MANAGE = api(ALICE, ADMIN)
CHECK = api(REGISTRY, "registry here")
CLAIM = CHECK | {"registry elsewhere": 404}
PERSONS_PAGE = page(*EVERY_PERSON)
AT_THE_GATE = public(403) | {"anonymous": 401}
SIGNED_IN = dict.fromkeys((*EVERY_PERSON, "mallory", "sam"), 302)

# Of anyone who is signed in.
OF_ONES_OWN = page(*EVERY_PERSON) | {"mallory": 200, "sam": 200}
NOT_THERE = page(*EVERY_PERSON, status=404) | {"mallory": 404, "sam": 404}

# Address, then method, then what each caller is answered. What is not here is not allowed: 405.
MATRIX: dict[str, dict[str, Expected]] = {
    # With tokens that grant more than their owners may do now: the database decides.
    GATE: {
        "PUT": AT_THE_GATE
        | dict.fromkeys((ALICE, BOB, PUSH, PUSH_ONLY, "push here", "push-only here"), 201),
        "DELETE": AT_THE_GATE | dict.fromkeys((ALICE, ADMIN), 202),
    },
    # Names and passwords come by HTTP Basic: another header is a mistake.
    "auth/token": {
        "GET": public() | dict.fromkeys([*TOKENS, "token of globex"], 401),
        "POST": public(400),
    },
    "healthz": {"GET": public()},
    "readyz": {"GET": public()},
    "statusz": {"GET": site_admins_page()},
    "docs/": {"GET": public()},
    "docs/<slug:name>/": {"GET": public()},
    f"{API}schema": {"GET": public()},
    f"{API}docs": {"GET": public()},
    f"{API}check-push": {"POST": CHECK},
    f"{API}check-delete": {"POST": CHECK},
    # Of other workspaces it is heard, and nothing is done.
    f"{API}registry-events": {
        "POST": public(403)
        | {"anonymous": 401}
        | dict.fromkeys((REGISTRY, "registry here", "registry elsewhere", "token of globex"), 200)
    },
    f"{API}claims/<uuid:claim_id>/confirm": {"POST": CLAIM},
    f"{API}claims/<uuid:claim_id>/abandon": {"POST": CLAIM},
    f"{IN_WORKSPACE}container-settings": {"GET": VIEW_SETTINGS, "PUT": MANAGE},
    f"{IN_WORKSPACE}container-settings/test": {"POST": VIEW_SETTINGS},
    f"{IN_WORKSPACE}container-settings/preview": {"POST": MANAGE},
    f"{IN_WORKSPACE}locked-tags": {"GET": VIEW_SETTINGS},
    f"{IN_WORKSPACE}locked-tags/<int:lock_id>": {"GET": VIEW_SETTINGS, "DELETE": MANAGE},
    f"{IN_WORKSPACE}locked-tags/<int:lock_id>/release": {"POST": MANAGE},
    f"{IN_WORKSPACE}repositories": {"GET": VIEW_SETTINGS},
    f"{IN_WORKSPACE}repositories/<path:repository>/tags": {"GET": VIEW_SETTINGS},
    f"{IN_WORKSPACE}repositories/<path:repository>": {"GET": VIEW_SETTINGS, "PUT": MANAGE},
    f"{IN_WORKSPACE}access-tokens": {
        "GET": VIEW_TOKENS,
        "POST": api(ALICE, ADMIN, status=201),
    },
    f"{IN_WORKSPACE}access-tokens/<int:token_id>": {"GET": VIEW_TOKENS, "DELETE": MANAGE},
    f"{IN_WORKSPACE}lock-log": {"GET": VIEW_EVENTS},
    f"{IN_WORKSPACE}lock-log/checkpoint": {"GET": VIEW_ALL_EVENTS},
    f"{IN_WORKSPACE}lock-log/export": {"GET": VIEW_ALL_EVENTS},
    f"{IN_WORKSPACE}lock-log/<str:ref>": {"GET": VIEW_EVENTS},
    # Someone who is in one workspace alone is led straight to it.
    "": {"GET": public(302) | {"sam": 200}},
    "admin/workspaces/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    **{
        f"admin/workspaces/<int:workspace_id>/{what}/": {
            "GET": site_admins_page(),
            "POST": site_admins_page(302),
        }
        for what in ("archive", "unarchive", "hand-over")
    },
    "admin/people/": {"GET": site_admins_page()},
    **{
        f"admin/people/<int:user_id>/{what}/": {
            "GET": site_admins_page(),
            "POST": site_admins_page(302),
        }
        for what in ("deactivate", "reactivate")
    },
    "admin/registry/": {"GET": site_admins_page(), "POST": site_admins_page()},
    "admin/registry/add/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/registry/move/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/registry/<int:registry_id>/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    "admin/registry/<int:registry_id>/remove/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    "admin/prefixes/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/prefixes/<int:prefix_id>/remove/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    "admin/single-sign-on/": {"GET": site_admins_page(), "POST": site_admins_page(302)},
    "admin/single-sign-on/<int:row_id>/remove/": {
        "GET": site_admins_page(),
        "POST": site_admins_page(302),
    },
    # Someone who is signed in is led on before anything else is looked at.
    "accounts/login/": {
        "GET": public() | SIGNED_IN,
        "POST": public() | SIGNED_IN,
        "PUT": public() | SIGNED_IN,
        "PATCH": public(405) | SIGNED_IN,
        "DELETE": public(405) | SIGNED_IN,
    },
    "accounts/logout/": {"POST": public(302)},
    "accounts/": {"GET": page(*EVERY_PERSON) | {"mallory": 200, "sam": 200}, "POST": public(302)},
    "accounts/tokens/": {"GET": OF_ONES_OWN, "POST": OF_ONES_OWN},
    # Only one's own.
    "accounts/tokens/<int:personal_token_id>/revoke/": {"POST": NOT_THERE},
    # Without an identity provider there is nothing here.
    "accounts/single-sign-on/": {"GET": public(404)},
    "accounts/single-sign-on/callback/": {"GET": public(404)},
    "accounts/single-sign-on/link/": {"GET": NOT_THERE, "POST": NOT_THERE},
    "accounts/single-sign-on/logout/": {"POST": public(404)},
    # Only an operator makes one.
    "accounts/password/sign-in/<str:uidb64>/<str:token>/": {
        "GET": public(404),
        "POST": public(404),
    },
    # Without mail there is nothing to send.
    "accounts/forgot/": {"GET": public(), "POST": public()},
    # The token moves from the address into the session.
    "accounts/password/<str:uidb64>/<str:token>/": {"GET": public(302), "POST": public(302)},
    # Nobody of these opened one before signing in.
    "invitations/continue/": {"GET": public(404), "POST": public(404)},
    # Who is in the workspace already leaves it to others, and Sam is not the one who agreed.
    "invitations/<str:secret>/": {
        "GET": public(),
        "POST": public(302) | dict.fromkeys((*EVERY_PERSON, "sam"), 409),
    },
    "<str:slug>/": {"GET": PERSONS_PAGE},
    "<str:slug>/settings/": {"GET": PERSONS_PAGE},
    "<str:slug>/settings/access-tokens/": {"GET": page(ALICE, OLGA), "POST": page(ALICE)},
    "<str:slug>/settings/access-tokens/<int:token_id>/revoke/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/members/": {"GET": PERSONS_PAGE, "POST": page(ALICE)},
    "<str:slug>/settings/members/<int:membership_id>/role/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/members/<int:membership_id>/remove/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/members/<int:membership_id>/password-link/": {
        "GET": page(ALICE),
        "POST": page(ALICE),
    },
    "<str:slug>/settings/members/invitations/<int:invitation_id>/withdraw/": {
        "POST": page(ALICE, status=302)
    },
    "<str:slug>/settings/packages/": {"GET": PERSONS_PAGE},
    "<str:slug>/settings/packages/containers/": {
        "GET": PERSONS_PAGE,
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/settings/packages/containers/test/": {"POST": page(ALICE)},
    "<str:slug>/settings/packages/containers/preview/": {"POST": page(ALICE)},
    "<str:slug>/settings/packages/containers/preview/list/": {"POST": page(ALICE)},
    "<str:slug>/lock-log/": {"GET": PERSONS_PAGE},
    "<str:slug>/lock-log/checkpoint/": {
        "GET": page(ALICE, OLGA),
        "POST": page(ALICE, OLGA, status=302),
    },
    "<str:slug>/lock-log/checkpoint/download/": {"GET": page(ALICE, OLGA)},
    # What moved while a change of settings was in force.
    "<str:slug>/lock-log/<str:save_ref>/moved/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/export/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/export/download/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/export/<uuid:export_id>/": {"GET": page(ALICE, OLGA)},
    "<str:slug>/lock-log/<str:ref>": {"GET": PERSONS_PAGE},
    "<str:slug>/repositories/": {"GET": PERSONS_PAGE},
    "<str:slug>/repositories/<path:repository>/-/visibility/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/repositories/<path:repository>/": {"GET": PERSONS_PAGE},
    "<str:slug>/repositories/<path:repository>:<str:tag>/": {"GET": PERSONS_PAGE},
    # The tag is locked: its own page asks.
    "<str:slug>/repositories/<path:repository>:<str:tag>/delete/": {
        "GET": page(ALICE, status=302),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/drift/": {"GET": PERSONS_PAGE},
    "<str:slug>/drift/compare/": {"POST": page(ALICE, status=302)},
    "<str:slug>/drift/<int:drift_id>/": {"POST": page(ALICE, status=302)},
    "<str:slug>/locked-tags/": {"GET": PERSONS_PAGE},
    # A selection is sent, and is in no address.
    "<str:slug>/locked-tags/change/": {"GET": page(ALICE, status=302), "POST": page(ALICE)},
    "<str:slug>/locked-tags/<int:lock_id>/delete/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
    "<str:slug>/locked-tags/<int:lock_id>/release/": {
        "GET": page(ALICE),
        "POST": page(ALICE, status=302),
    },
}

REASON: dict[str, Any] = {"reason": "Because the matrix says so"}
NEW_PASSWORD = {"password": "correct horse battery", "repeated": "correct horse battery"}
# What makes a request that its caller may make succeed, so that the answer is about the caller.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", f"{API}check-push"): {"repository": "acme/api", "tag": "v9", "digest": AA},
    ("POST", f"{API}check-delete"): {"repository": "acme/api", "tag": "v9"},
    ("POST", f"{API}registry-events"): {"events": []},
    ("PUT", f"{IN_WORKSPACE}container-settings"): {"protection": "all"},
    ("POST", f"{IN_WORKSPACE}container-settings/test"): {"tags": ["v1"]},
    ("POST", f"{IN_WORKSPACE}container-settings/preview"): {"protection": "all"},
    ("DELETE", f"{IN_WORKSPACE}locked-tags/<int:lock_id>"): {"name": "reserve", **REASON},
    ("POST", f"{IN_WORKSPACE}locked-tags/<int:lock_id>/release"): REASON,
    # What a token gives, it has to have.
    ("POST", f"{IN_WORKSPACE}access-tokens"): {"name": "given", "scopes": ["admin"]},
    ("POST", "<str:slug>/settings/access-tokens/"): {
        "name": "given",
        "scopes": "push",
        "expiry": "never",
    },
    ("PUT", f"{IN_WORKSPACE}repositories/<path:repository>"): {"is_public": True},
    ("POST", "<str:slug>/repositories/<path:repository>/-/visibility/"): {"visibility": "public"},
    ("POST", "admin/workspaces/"): {"slug": "fresh", "name": "New", "username": "bob"},
    ("POST", "admin/workspaces/<int:workspace_id>/archive/"): REASON,
    ("POST", "admin/workspaces/<int:workspace_id>/unarchive/"): REASON,
    ("POST", "admin/workspaces/<int:workspace_id>/hand-over/"): {"username": "bob", **REASON},
    ("POST", "admin/people/<int:user_id>/deactivate/"): REASON,
    ("POST", "admin/people/<int:user_id>/reactivate/"): REASON,
    ("POST", "admin/registry/add/"): {
        "name": "zot",
        "url": "http://127.0.0.1:1",
        "host": "zot.example.org",
        "accounts": "tokens",
    },
    ("POST", "admin/registry/move/"): {"workspace": "globex"},
    ("POST", "admin/prefixes/"): {"name_prefix": "library", "workspace": "acme"},
    ("POST", "admin/single-sign-on/"): {"group": "eng", "role": "member", "workspace": "acme"},
    ("POST", "accounts/tokens/"): {"name": "laptop", "days": "30"},
    ("POST", "accounts/"): {"current_password": "demo", **NEW_PASSWORD},
    ("POST", "invitations/<str:secret>/"): {
        "join_as": "mallory",
        "username": "newcomer",
        **NEW_PASSWORD,
    },
    ("POST", "<str:slug>/settings/members/"): {"invitee": "dana", "role": "member"},
    ("POST", "<str:slug>/settings/members/<int:membership_id>/role/"): {"role": "member"},
    ("POST", "<str:slug>/settings/packages/containers/"): {"protection": "all", "version": "1"},
    ("POST", "<str:slug>/settings/packages/containers/test/"): {"sample_tags": "v1"},
    ("POST", "<str:slug>/repositories/<path:repository>:<str:tag>/delete/"): {
        "chosen": f"acme/api:locked mutable {AA}"
    },
    ("POST", "<str:slug>/locked-tags/change/"): {
        "action": "release",
        "tag": f"acme/api:locked locked {AA}",
        "confirmed": "yes",
        **REASON,
    },
    ("POST", "<str:slug>/locked-tags/<int:lock_id>/delete/"): {"name_after": "free", **REASON},
    ("POST", "<str:slug>/locked-tags/<int:lock_id>/release/"): REASON,
}
# What an address needs in its query to be answered at all.
QUERIES = {
    f"{IN_WORKSPACE}lock-log/export": {"format": "jsonl"},
    "<str:slug>/lock-log/export/download/": {"format": "csv"},
}


def list_addresses(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[str]:
    """Yield every address that the site has, as the URL configuration writes it."""
    for entry in (resolver or get_resolver()).url_patterns:
        address = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield address
        else:
            yield from list_addresses(entry, address)


ADDRESSES = list(list_addresses())
WORKSPACE_ADDRESSES = [address for address in ADDRESSES if "<str:slug>" in address]
NEEDS_NO_CALLER = (f"{API}schema", f"{API}docs")
OF_THE_API = [
    (address, method)
    for address in ADDRESSES
    if address.startswith(API) and address not in NEEDS_NO_CALLER
    for method in MATRIX[address]
]


def list_callers(address: str) -> list[str]:
    """Return who calls an address: everybody, but for most of the tokens where none is read."""
    if address.startswith((API, "v2/", "auth/")) and address not in NEEDS_NO_CALLER:
        return CALLERS
    return [each for each in CALLERS if each not in TOKENS or each in SENT_TO_PAGES]
