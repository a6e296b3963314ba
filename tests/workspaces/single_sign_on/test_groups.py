"""What groups at the provider give to people, and what they take."""

import logging

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from tests.conftest import make_member, sign_in_as
from workspaces.access import SYSTEM, Actor, ActorKind, Role
from workspaces.actions.members import add_member, change_role
from workspaces.log.sentences.tell import tell
from workspaces.models import GroupRole, LockEvent, User, Workspace
from workspaces.single_sign_on import groups
from workspaces.single_sign_on.groups import apply_groups, delete_group_role, save_group_role
from workspaces.single_sign_on.people import link_identity

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana(db: None) -> User:
    user = User.objects.create_user("dana")
    link_identity(user, "https://login.example.org", "id|dana", actor=SYSTEM)
    return user


@pytest.fixture
def rows(acme: Workspace, globex: Workspace) -> None:
    """eng: member of acme, and auditor of globex; leads: admin of acme; ops: the site's admins."""
    save_group_role("eng", acme, Role.MEMBER, actor=SYSTEM)
    save_group_role("eng", globex, Role.AUDITOR, actor=SYSTEM)
    save_group_role("leads", acme, Role.ADMIN, actor=SYSTEM)
    save_group_role("ops", None, None, actor=SYSTEM)


def roles_of(user: User) -> dict[str, str]:
    return dict(user.memberships.values_list("workspace__slug", "role"))


def is_site_admin(user: User) -> bool:
    return User.objects.filter(pk=user.pk, is_superuser=True).exists()


def told(workspace: str) -> list[tuple[str, str]]:
    events = LockEvent.objects.filter(workspace=workspace, kind__startswith="member")
    return [(str(sentence := tell(event)), sentence.note) for event in events.order_by("id")]


def test_groups_give_roles_and_take_them(rows: None, alice: User, dana: User) -> None:
    seen = len(told("acme"))
    apply_groups(dana, {"eng", "leads", "unknown"})
    # The strongest of several.
    assert roles_of(dana) == {"acme": "admin", "globex": "auditor"}
    apply_groups(dana, {"eng"})
    assert roles_of(dana) == {"acme": "member", "globex": "auditor"}
    apply_groups(dana, set())
    assert roles_of(dana) == {}
    by_leads, by_eng = (
        f"By the group {each} at the identity provider" for each in ("leads", "eng")
    )
    assert told("acme")[seen:] == [
        ("Taglock added dana as admin", by_leads),
        ("Taglock changed the role of dana from admin to member", by_eng),
        (
            "Taglock removed dana, who was a member",
            "No group at the identity provider gives them a role",
        ),
    ]


def test_nothing_happens_again_or_without_an_answer(
    rows: None, alice: User, dana: User, django_assert_max_num_queries: object
) -> None:
    apply_groups(dana, {"eng"})
    count = LockEvent.objects.count()
    with django_assert_max_num_queries(3):  # type: ignore[operator]
        apply_groups(dana, {"eng"})
    apply_groups(dana, None)
    assert (LockEvent.objects.count(), len(roles_of(dana))) == (count, 2)


def test_what_was_given_by_hand_stays(
    rows: None, acme: Workspace, globex: Workspace, alice: User, dana: User
) -> None:
    add_member(acme, dana, Role.AUDITOR, actor=SYSTEM)
    apply_groups(dana, {"eng", "leads"})
    assert roles_of(dana) == {"acme": "auditor", "globex": "auditor"}
    # A role that an admin changes is by hand from then on.
    by_group = globex.memberships.get(user=dana)
    change_role(globex, by_group.id, Role.MEMBER, actor=SYSTEM)
    apply_groups(dana, set())
    assert roles_of(dana) == {"acme": "auditor", "globex": "member"}


def test_what_a_group_gave_stays_once_it_is_given_by_hand_too(
    rows: None, acme: Workspace, alice: User, dana: User
) -> None:
    apply_groups(dana, {"eng", "ops"})
    add_member(acme, dana, Role.MEMBER, actor=SYSTEM)
    call_command("add_site_admin", "dana")
    apply_groups(dana, set())
    assert (roles_of(dana), is_site_admin(dana)) == ({"acme": "member"}, True)


def test_the_last_admin_stays_one(rows: None, dana: User, caplog: pytest.LogCaptureFixture) -> None:
    apply_groups(dana, {"leads"})
    with caplog.at_level(logging.WARNING):
        apply_groups(dana, {"eng"})
        apply_groups(dana, set())
    assert roles_of(dana) == {"acme": "admin"}
    assert "dana is the last admin of acme" in caplog.text


def test_a_group_makes_site_administrators_and_no_others_end(
    rows: None, alice: User, dana: User
) -> None:
    apply_groups(dana, {"ops"})
    assert is_site_admin(dana)
    apply_groups(dana, set())
    assert not is_site_admin(dana)
    User.objects.filter(pk=dana.pk).update(is_superuser=True)
    apply_groups(dana, {"ops"})
    apply_groups(dana, set())
    assert is_site_admin(dana)


def test_only_site_administrators_say_what_groups_give(acme: Workspace, alice: User) -> None:
    actor = Actor("alice", ActorKind.PERSON)
    with pytest.raises(PermissionDenied):
        save_group_role("eng", acme, Role.ADMIN, actor=actor)
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    save_group_role("eng", acme, Role.ADMIN, actor=actor)
    save_group_role("eng", acme, Role.MEMBER, actor=actor)
    assert GroupRole.objects.get().role == "member"
    with pytest.raises(ValidationError):
        save_group_role("a" * 256, acme, Role.ADMIN, actor=actor)


def test_what_groups_give_is_recorded_where_it_counts(acme: Workspace, globex: Workspace) -> None:
    row = save_group_role("eng", acme, Role.ADMIN, actor=SYSTEM)
    save_group_role("eng", acme, Role.ADMIN, actor=SYSTEM)
    save_group_role("eng", acme, Role.MEMBER, actor=SYSTEM)
    delete_group_role(row, actor=SYSTEM)
    delete_group_role(save_group_role("ops", None, None, actor=SYSTEM), actor=SYSTEM)
    events = LockEvent.objects.filter(kind__startswith="group_role").order_by("id")
    recorded: dict[str, list[tuple[str, str, str]]] = {}
    for event in events:
        details = event.details or {}
        what = (event.kind, details["group"], details["role"])
        recorded.setdefault(event.workspace, []).append(what)
    of_the_site = [("group_role.set", "ops", ""), ("group_role.removed", "ops", "")]
    assert recorded == {
        "acme": [
            ("group_role.set", "eng", "admin"),
            ("group_role.set", "eng", "member"),
            ("group_role.removed", "eng", "member"),
            *of_the_site,
        ],
        "globex": of_the_site,
    }


def test_there_are_so_many_roles_at_most_and_each_is_set_by_one_at_a_time(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_group_role("eng", acme, Role.ADMIN, actor=SYSTEM)
    sam = User.objects.create_user("sam", is_superuser=True)
    page, browser = "/admin/single-sign-on/", sign_in_as(sam)
    form = {"group": "ops", "role": "site-admin", "workspace": ""}
    # As if someone else had set it between the look and the insert.
    with monkeypatch.context() as patch:
        patch.setattr(GroupRole, "full_clean", lambda *_, **__: GroupRole(group="ops").save())
        answer = browser.post(page, form)
        assert (answer.status_code, "Someone else has just" in answer.text) == (422, True)
    monkeypatch.setattr(groups, "MAX_GROUP_ROLES", 1)
    answer = browser.post(page, {**form, "group": "leads"})
    assert (answer.status_code, "the maximum. Remove one" in answer.text) == (422, True)
    # What a group gives there can be replaced.
    save_group_role("eng", acme, Role.MEMBER, actor=SYSTEM)
    assert GroupRole.objects.filter(group__in=["leads", "ops"]).count() == 0


@pytest.mark.both_databases
def test_a_row_is_whole(acme: Workspace) -> None:
    for fields in ({"workspace": acme, "role": ""}, {"workspace": None, "role": "admin"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            GroupRole.objects.create(group="eng", **fields)
    GroupRole.objects.create(group="eng")
    with pytest.raises(IntegrityError), transaction.atomic():
        GroupRole.objects.create(group="eng")


def test_the_command_lists_sets_and_removes(
    acme: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("group_roles", "set", "eng", "acme", "member")
    call_command("group_roles", "set", "ops", "--site-admin")
    call_command("group_roles", "list")
    assert capsys.readouterr().out == "eng\tmember of acme\nops\tsite administrator\n"
    call_command("group_roles", "remove", "ops", "--site-admin")
    for arguments in (
        ["set", "eng"],
        ["set", "eng", "acme"],
        ["set", "eng", "nowhere", "member"],
        ["remove", "ops", "--site-admin"],
        ["remove", "eng", "acme", "--site-admin"],
    ):
        with pytest.raises(CommandError):
            call_command("group_roles", *arguments)
    assert GroupRole.objects.get().group == "eng"


def test_site_administrators_have_a_page_for_it(acme: Workspace) -> None:
    sam = make_member(acme, "sam", Role.MEMBER)
    User.objects.filter(pk=sam.pk).update(is_superuser=True)
    page, browser = "/admin/single-sign-on/", sign_in_as(sam)
    for form in (
        {"group": "eng", "role": "member", "workspace": ""},
        {"group": "eng", "role": "member", "workspace": "nowhere"},
        {"group": "ops", "role": "site-admin", "workspace": "acme"},
        {"group": "a\u202eb", "role": "member", "workspace": "acme"},
        {"group": "", "role": "other"},
    ):
        assert browser.post(page, form).status_code == 422
    assert (
        browser.post(page, {"group": "eng", "role": "member", "workspace": "acme"}).status_code
        == 302
    )
    assert browser.post(page, {"group": "ops", "role": "site-admin"}).status_code == 302
    shown = browser.get(page).content.decode()
    assert "Member of acme" in shown
    assert "Site administration" in shown
    row = GroupRole.objects.get(group="ops")
    browser.post(f"{page}{row.id}/remove/")
    assert [each.group for each in GroupRole.objects.all()] == ["eng"]
