import stat
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.test import Client

from packages_site.demo import PASSWORD, make_demo_data
from tests.conftest import AA
from tests.immutability.making import make_lock
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Role
from workspaces.actions.members import add_member
from workspaces.models import AccessToken, Membership, User, Workspace

pytestmark = pytest.mark.django_db


def check_push(token_file: Path, tag: str) -> int:
    return (
        Client()
        .post(
            "/api/v1/check-push",
            {"repository": "acme/api", "tag": tag, "digest": AA},
            content_type="application/json",
            headers={"Authorization": f"Bearer {token_file.read_text()}"},
        )
        .status_code
    )


def test_there_are_two_workspaces_and_four_people(tmp_path: Path) -> None:
    make_demo_data(tmp_path)
    assert set(Workspace.objects.values_list("slug", flat=True)) == {"acme", "globex"}
    people = Membership.objects.values_list("user__username", "workspace__slug", "role")
    assert set(people) == {
        ("alice", "acme", "admin"),
        ("bob", "acme", "member"),
        ("olga", "acme", "auditor"),
        ("mallory", "globex", "admin"),
    }


@pytest.mark.parametrize("username", ["alice", "bob", "olga", "mallory"])
def test_everybody_can_sign_in_and_nobody_runs_the_site(tmp_path: Path, username: str) -> None:
    make_demo_data(tmp_path)
    user = authenticate(username=username, password=PASSWORD)
    assert user == User.objects.get(username=username)
    assert not User.objects.filter(is_superuser=True).exists()


def test_the_token_file_is_its_owners_alone_and_works(tmp_path: Path) -> None:
    token_file = make_demo_data(tmp_path)
    assert token_file == tmp_path / "demo-registry-token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert token_file.read_text() == token_file.read_text().strip()
    assert check_push(token_file, "v1") == 200
    assert AccessToken.objects.get().scopes == ["registry"]
    assert [path.name for path in tmp_path.iterdir()] == ["demo-registry-token"]


def test_making_it_again_changes_nothing(tmp_path: Path) -> None:
    token_file = make_demo_data(tmp_path)
    secret = token_file.read_text()
    with nothing_written():
        assert make_demo_data(tmp_path) == token_file
    assert token_file.read_text() == secret
    assert AccessToken.objects.count() == 1


def test_what_was_done_in_between_stays(tmp_path: Path) -> None:
    token_file = make_demo_data(tmp_path)
    alice, bob = User.objects.get(username="alice"), User.objects.get(username="bob")
    alice.set_password("another password")
    alice.save()
    acme = Workspace.objects.get(slug="acme")
    add_member(acme, bob, Role.ADMIN, actor=SYSTEM)
    acme.name = "Acme, Inc."
    acme.save()
    make_lock(acme, "v1")
    with nothing_written():
        make_demo_data(tmp_path)
    assert authenticate(username="alice", password="another password") is not None
    assert check_push(token_file, "v1") == 200


def test_a_lost_token_file_is_replaced_and_its_token_no_longer_works(tmp_path: Path) -> None:
    token_file = make_demo_data(tmp_path)
    lost = tmp_path / "lost"
    token_file.rename(lost)
    assert make_demo_data(tmp_path) == token_file
    assert check_push(token_file, "v1") == 200
    assert check_push(lost, "v1") == 401


def test_a_half_written_token_file_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "demo-registry-token.new").write_text("half")
    assert check_push(make_demo_data(tmp_path), "v1") == 200


def test_somebody_of_that_name_who_was_there_before_keeps_their_password(
    tmp_path: Path, alice: User
) -> None:
    alice.set_password("another password")
    alice.save()
    make_demo_data(tmp_path)
    assert authenticate(username="alice", password=PASSWORD) is None


def test_the_command_says_where_the_token_is(
    tmp_path: Path, settings: object, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.DATA_DIR = tmp_path  # type: ignore[attr-defined]
    call_command("demo")
    assert capsys.readouterr().out == f"Registry token of acme: {tmp_path}/demo-registry-token\n"
