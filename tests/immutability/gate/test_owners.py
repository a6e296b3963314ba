"""Repositories whose names begin with no workspace's slug, from login to lock."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from containers.models import Manifest, Repository
from containers.names import RepositoryName
from containers.prefixes import add_prefix, remove_prefix
from containers.sql import insert_repository
from immutability.models import LockedTag
from tests.conftest import make_api_client, make_member
from tests.containers.tokens.test_token_service import basic, get, granted, make_token
from tests.immutability.core import Core, named
from tests.immutability.gate.client import GateClient, error_of
from tests.immutability.registry_double import digest_of, image
from workspaces.access import SYSTEM, Role, Scope
from workspaces.models import User, Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = named("one", image("one")), named("two", image("two"))
NAMES = ["nginx", "team/sub/app"]


@pytest.fixture
def mapped(core: Core, acme: Workspace, globex: Workspace, settings: Any) -> Core:
    """Acme has all that nothing names, and globex has team."""
    core.protect()
    settings.REGISTRY_WORKSPACE = "acme"
    add_prefix(globex, "team", actor=SYSTEM)
    return core


@pytest.mark.usefixtures("mapped")
def test_a_first_push_locks_the_tag_of_a_name_of_one_part(core: Core, gate: GateClient) -> None:
    assert gate.push("v1", ONE, repository="nginx").status_code == 201
    assert error_of(gate.push("v1", TWO, repository="nginx")) == (403, "DENIED")
    assert error_of(gate.delete("v1", repository="nginx")) == (403, "DENIED")
    lock = LockedTag.objects.get()
    assert (lock.workspace, lock.repository, lock.digest) == (
        core.workspace,
        "nginx",
        digest_of(ONE),
    )
    assert Repository.objects.get().workspace == core.workspace


@pytest.mark.both_databases
@pytest.mark.usefixtures("mapped")
def test_a_push_takes_as_many_statements_under_any_name(core: Core, gate: GateClient) -> None:
    counts: dict[str, list[int]] = {}
    for name in ("acme/api", "nginx"):
        counts[name] = []
        # New in a new repository, the same again, another image, and new in a known repository.
        for tag, pushed in (("v1", ONE), ("v1", ONE), ("v1", TWO), ("v2", TWO)):
            core.registry.tags.clear()
            with CaptureQueriesContext(connection) as queries:
                gate.push(tag, pushed, repository=name)
            counts[name].append(len(queries))
    assert counts["nginx"] == counts["acme/api"]


@pytest.mark.usefixtures("mapped")
def test_the_next_push_goes_by_what_was_changed_before_it(
    core: Core, gate: GateClient, globex: Workspace
) -> None:
    assert gate.push("v1", ONE, repository="lib/one").status_code == 201
    assert error_of(gate.push("v1", ONE, repository="team/app")) == (403, "DENIED")
    remove_prefix("team", actor=SYSTEM)
    assert gate.push("v1", ONE, repository="team/app").status_code == 201
    add_prefix(globex, "lib/two", actor=SYSTEM)
    assert error_of(gate.push("v1", ONE, repository="lib/two")) == (403, "DENIED")
    assert error_of(gate.push("v1", TWO, repository="lib/one")) == (403, "DENIED")


@pytest.mark.usefixtures("mapped")
def test_a_name_given_away_during_a_push_ends_it(
    core: Core, gate: GateClient, globex: Workspace
) -> None:
    def give_away(carry: Any) -> Any:
        add_prefix(globex, "lib", actor=SYSTEM)
        return carry()

    core.registry.script("PUT", give_away)
    response = gate.push("v1", ONE, repository="lib/app")
    assert response.status_code in (403, 503)
    assert core.registry.tags == {}
    assert not Repository.objects.exists()
    assert not LockedTag.objects.exists()


@pytest.mark.parametrize("has_row", [False, True], ids=["new", "listed by a refused index"])
@pytest.mark.usefixtures("mapped")
def test_a_push_by_digest_alone_keeps_its_repository_in_the_workspace(
    core: Core, gate: GateClient, globex: Workspace, *, has_row: bool
) -> None:
    if has_row:
        Manifest.objects.create(
            workspace=core.workspace, repository="lib/app", digest=digest_of(ONE)
        )
    assert gate.push(digest_of(ONE), ONE, repository="lib/app").status_code == 201
    assert Repository.objects.get().workspace == core.workspace
    with pytest.raises(ValidationError, match="lib/app"):
        add_prefix(globex, "lib", actor=SYSTEM)


@pytest.mark.usefixtures("mapped")
def test_a_name_given_away_during_a_push_by_digest_records_nothing(
    core: Core, gate: GateClient, globex: Workspace
) -> None:
    def give_away(carry: Any) -> Any:
        add_prefix(globex, "lib", actor=SYSTEM)
        return carry()

    core.registry.script("PUT", give_away)
    response = gate.push(digest_of(ONE), ONE, repository="lib/app")
    assert error_of(response) == (403, "DENIED")
    assert not Repository.objects.exists()
    assert not Manifest.objects.exists()


@pytest.mark.usefixtures("core")
def test_what_no_workspace_has_is_neither_pulled_nor_pushed(
    alice: User, gate: GateClient, core: Core
) -> None:
    for name in NAMES:
        asked = f"repository:{name}:pull,push,delete"
        assert granted(get(asked, login=basic("alice", "demo"))) == {}
        assert granted(get(asked)) == {}
        assert error_of(gate.push("v1", ONE, repository=name)) == (403, "DENIED")
    assert core.registry.calls == []
    assert not Repository.objects.exists()


@pytest.mark.usefixtures("mapped")
def test_people_and_access_tokens_get_what_is_their_workspaces(
    acme: Workspace, globex: Workspace
) -> None:
    asked = [f"repository:{name}:pull,push" for name in [*NAMES, "acme/api", "globex/api"]]
    both = {"pull", "push"}
    make_member(acme, "ada", Role.MEMBER)
    make_member(globex, "gus", Role.AUDITOR)
    assert granted(get(*asked, login=basic("ada", "demo"))) == {"nginx": both, "acme/api": both}
    assert granted(get(*asked, login=basic("gus", "demo"))) == {
        "team/sub/app": {"pull"},
        "globex/api": {"pull"},
    }
    token = make_token(acme, Scope.PUSH, repositories=["nginx", "sub/**"])
    assert granted(get(*asked, login=basic("acme+ci", token))) == {"nginx": both}
    token = make_token(globex, Scope.PUSH, repositories=["team/**"])
    assert granted(get(*asked, login=basic("globex+ci", token))) == {"team/sub/app": both}


@pytest.mark.usefixtures("mapped")
def test_a_registry_asks_for_what_is_its_workspaces(acme: Workspace, globex: Workspace) -> None:
    question = {"repository": "team/app", "tag": "v1", "digest": digest_of(ONE)}
    ours, theirs = (make_api_client(each, Scope.REGISTRY) for each in (globex, acme))
    refused = theirs.post("/api/v1/check-push", question, format="json")
    assert (refused.status_code, refused.json()["code"]) == (404, "NAME_UNKNOWN")
    assert ours.post("/api/v1/check-push", question, format="json").json()["allowed"] is True
    assert Repository.objects.get().workspace == globex


@pytest.mark.usefixtures("mapped")
def test_pages_are_those_of_the_workspace(
    acme: Workspace, globex: Workspace, alice: User, mallory: User, sign_in: Any
) -> None:
    insert_repository(globex, RepositoryName("team/app"))
    there, here = sign_in(mallory), sign_in(alice)
    for path in ("team/app/", "team/app:v1/", "team/app/-/visibility/"):
        assert there.get(f"/globex/repositories/{path}").status_code == 200
        assert here.get(f"/acme/repositories/{path}").status_code == 404
        assert here.get(f"/globex/repositories/{path}").status_code == 404
    assert b"team/app" in there.get("/globex/locked-tags/?q=team/app").content
