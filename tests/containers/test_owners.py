"""Which workspace a repository belongs to, and how a name is given to one."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from containers.catalog import iterate_owned
from containers.models import Repository, RepositoryPrefix
from containers.names import RepositoryName
from containers.owners import find_owner, is_owner
from containers.prefixes import add_prefix, create_workspace, remove_prefix
from containers.sql import find_owned, insert_repository
from tests.at_once import at_once
from tests.problems import nothing_written
from workspaces.access import SYSTEM
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def owner_of(name: str) -> str:
    """Return the slug of a repository's workspace, by each of the statements; "" for none."""
    repository = RepositoryName(name)
    owner = find_owner(repository)
    found = find_owned([RepositoryName("x/y"), repository], user_id=0).get(repository)
    assert (owner.pk if owner else None) == (found.workspace_id if found else None)
    for workspace in Workspace.objects.all():
        assert is_owner(workspace, repository) == (workspace == owner)
    return owner.slug if owner else ""


def know(workspace: Workspace, name: str) -> bool:
    return insert_repository(workspace, RepositoryName(name))


@pytest.fixture
def prefixes(acme: Workspace, globex: Workspace) -> None:
    """Acme has team, and globex team/sub."""
    add_prefix(acme, "team", actor=SYSTEM)
    add_prefix(globex, "team/sub", actor=SYSTEM)


# Whose it is.


@pytest.mark.usefixtures("prefixes")
@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("acme/api", "acme"),
        ("acme", "acme"),
        ("acme/team/sub/x", "acme"),
        ("team", "acme"),
        ("team/app", "acme"),
        ("team/subs", "acme"),
        ("team/sub", "globex"),
        ("team/sub/app", "globex"),
        ("teams/app", ""),
        ("tea_/app", ""),
        ("nginx", ""),
    ],
)
def test_a_slug_decides_and_then_the_longest_prefix(name: str, slug: str) -> None:
    assert owner_of(name) == slug


@pytest.mark.usefixtures("prefixes")
def test_one_workspace_gets_what_nothing_else_names(settings: Any) -> None:
    settings.REGISTRY_WORKSPACE = "acme"
    assert owner_of("nginx") == owner_of("library/nginx") == owner_of("teams/app") == "acme"
    assert owner_of("globex/api") == owner_of("team/sub/app") == "globex"
    settings.REGISTRY_WORKSPACE = "initech"
    assert owner_of("nginx") == ""


def test_a_known_repository_stays_whatever_is_set_later(
    acme: Workspace, globex: Workspace, settings: Any
) -> None:
    settings.REGISTRY_WORKSPACE = "acme"
    assert know(acme, "nginx")
    add_prefix(acme, "team", actor=SYSTEM)
    assert know(acme, "team/app")
    assert remove_prefix("team", actor=SYSTEM) == acme
    settings.REGISTRY_WORKSPACE = "globex"
    assert owner_of("nginx") == owner_of("team/app") == "acme"
    assert owner_of("alpine") == owner_of("team/web") == "globex"


def test_a_repository_becomes_known_in_its_own_workspace_alone(
    acme: Workspace, globex: Workspace
) -> None:
    add_prefix(acme, "team", actor=SYSTEM)
    with nothing_written():
        assert not know(globex, "team/app")
        assert not know(globex, "acme/api")
        assert not know(acme, "nginx")
    assert know(acme, "team/app")
    with nothing_written():
        assert know(acme, "team/app")


def test_the_database_keeps_one_workspace_for_a_name(acme: Workspace, globex: Workspace) -> None:
    know(acme, "acme/api")
    with pytest.raises(IntegrityError), transaction.atomic():
        Repository.objects.create(workspace=globex, name="acme/api")
    RepositoryPrefix.objects.create(workspace=acme, prefix="team")
    for prefix in ("team", "", "/team", "team/"):
        with pytest.raises(IntegrityError), transaction.atomic():
            RepositoryPrefix.objects.create(workspace=globex, prefix=prefix)


# Giving a prefix.


def test_a_prefix_is_added_and_removed_on_record(acme: Workspace) -> None:
    assert add_prefix(acme, "team/sub", actor=SYSTEM)
    with nothing_written():
        assert not add_prefix(acme, "team/sub", actor=SYSTEM)
    assert remove_prefix("team/sub", actor=SYSTEM) == acme
    with nothing_written():
        assert remove_prefix("team/sub", actor=SYSTEM) is None
    events = LockEvent.objects.filter(workspace="acme", kind__startswith="prefix.").order_by("id")
    assert [(each.kind, each.details) for each in events] == [
        ("prefix.added", {"prefix": "team/sub"}),
        ("prefix.removed", {"prefix": "team/sub"}),
    ]


@pytest.mark.usefixtures("prefixes")
@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("Team", "is not a repository name"),
        ("team/", "is not a repository name"),
        ("", "is not a repository name"),
        ("x" * 256, "at most 255"),
        ("acme", 'What begins with "acme" belongs to acme already.'),
        ("globex/api", 'What begins with "globex" belongs to globex already.'),
        ("team/sub", "It belongs to globex."),
    ],
)
def test_a_prefix_is_refused_that_is_none_or_anothers(
    acme: Workspace, prefix: str, why: str
) -> None:
    with nothing_written(), pytest.raises(ValidationError) as caught:
        add_prefix(acme, prefix, actor=SYSTEM)
    assert why in caught.value.messages[0]


@pytest.mark.usefixtures("prefixes")
def test_a_prefix_takes_no_known_repository_away(
    acme: Workspace, globex: Workspace, settings: Any
) -> None:
    settings.REGISTRY_WORKSPACE = "acme"
    know(acme, "lib/nginx")
    know(globex, "team/sub/app")
    with nothing_written(), pytest.raises(ValidationError, match='"lib/nginx" belongs to acme'):
        add_prefix(globex, "lib", actor=SYSTEM)
    assert add_prefix(acme, "lib", actor=SYSTEM)
    # That of a longer prefix is not in the way of a shorter one.
    remove_prefix("team", actor=SYSTEM)
    assert add_prefix(acme, "team", actor=SYSTEM)


def test_there_are_so_many_prefixes_at_most(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("containers.prefixes.MAX_PREFIXES", 1)
    add_prefix(acme, "one", actor=SYSTEM)
    with pytest.raises(ValidationError, match="no more fit"):
        add_prefix(acme, "two", actor=SYSTEM)


@pytest.mark.usefixtures("prefixes")
def test_no_workspace_is_made_over_the_names_of_another(acme: Workspace, settings: Any) -> None:
    settings.REGISTRY_WORKSPACE = "acme"
    know(acme, "nginx")
    know(acme, "initech/app")
    for slug in ("team", "nginx", "initech"):
        with nothing_written(), pytest.raises(ValidationError, match="belongs to acme"):
            create_workspace(slug, "Squatted", actor=SYSTEM)
    create_workspace("tea", "Tea", actor=SYSTEM)
    create_workspace("init", "Init", actor=SYSTEM)


# What the registry has.


class Catalog:
    """A registry with these repositories, two a page, in the order of their bytes."""

    def __init__(self, *names: str) -> None:
        self.names = sorted(names)
        self.asked: list[str] = []

    def page_repositories(self, after: str = "") -> tuple[list[str], bool]:
        self.asked.append(after)
        behind = [name for name in self.names if name > after]
        return behind[:2], len(behind) > 2


def test_each_repository_of_the_registry_is_of_one_workspace(
    acme: Workspace, globex: Workspace, settings: Any
) -> None:
    for workspace, prefix in ((globex, "team"), (acme, "team/sub"), (globex, "a"), (globex, "a/b")):
        add_prefix(workspace, prefix, actor=SYSTEM)
    add_prefix(globex, "old", actor=SYSTEM)
    know(globex, "old/one")
    know(globex, "old/two")
    remove_prefix("old", actor=SYSTEM)
    ours = ["acme", "acme/api", "acme/web", "team/sub", "team/sub/x"]
    theirs = ["a", "a/b/c", "a/c", "globex/api", "team", "team/app", "team/web"]
    others = ["ac/x", "acme-x/y", "acmes", "nginx", "team-x", "zoo/a"]
    catalog: Any = Catalog(*ours, *theirs, *others)

    def found(workspace: Workspace, after: str = "") -> list[str]:
        return [each.name for each in iterate_owned(catalog, workspace, after)]

    assert found(acme) == ours
    assert found(globex) == [*theirs, "old/one", "old/two"]
    for number, name in enumerate(theirs):
        assert found(globex, name) == [*theirs[number + 1 :], "old/one", "old/two"]
    assert found(globex, "old/one") == ["old/two"]
    # The catalog is read where the workspace's names are, and no further.
    catalog.asked.clear()
    assert found(acme, "team/sub") == ["team/sub/x"]
    assert len(catalog.asked) <= 2

    settings.REGISTRY_WORKSPACE = "acme"
    assert found(acme) == sorted([*ours, *others])
    assert found(acme, "nginx") == ["team-x", "team/sub", "team/sub/x", "zoo/a"]


# At the same moment.


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_push_first", [True, False])
@pytest.mark.parametrize("is_prefix", [True, False])
def test_a_name_is_given_before_a_first_push_or_after_it_and_never_meanwhile(
    acme: Workspace, globex: Workspace, settings: Any, *, is_prefix: bool, is_push_first: bool
) -> None:
    settings.REGISTRY_WORKSPACE = "acme"
    has_begun, has_ended = threading.Event(), threading.Event()

    def push() -> bool:
        return know(acme, "team/app")

    def give() -> bool:
        try:
            if is_prefix:
                return add_prefix(globex, "team", actor=SYSTEM)
            return bool(create_workspace("team", "Team", actor=SYSTEM))
        except ValidationError:
            return False

    def begin(call: Callable[[], bool]) -> bool:
        with transaction.atomic():
            result = call()
            has_begun.set()
            # The other one has to wait for the end of this transaction.
            assert not has_ended.wait(0.2)
            return result

    def follow(call: Callable[[], bool]) -> bool:
        assert has_begun.wait(10)
        result = call()
        has_ended.set()
        return result

    first, second = (push, give) if is_push_first else (give, push)
    assert at_once([partial(begin, first), partial(follow, second)]) == [True, False]
    assert Repository.objects.filter(name="team/app").exists() is is_push_first


# By hand.


def test_an_operator_adds_lists_and_removes(
    acme: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("map_repositories", "team/sub", "acme")
    call_command("map_repositories", "team/sub", "acme")
    assert "already belong" in capsys.readouterr().err
    call_command("map_repositories")
    assert capsys.readouterr().out == "team/sub\tacme\n"
    call_command("map_repositories", "--remove", "team/sub")
    call_command("map_repositories")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["team"], "Give a prefix and a workspace"),
        (["team", "acme", "--remove", "team"], "Give a prefix and a workspace"),
        (["team", "nothing"], "no workspace nothing"),
        (["Team", "acme"], "not a repository name"),
        (["--remove", "team"], 'no prefix "team"'),
    ],
)
def test_an_operator_is_told_what_is_wrong(acme: Workspace, arguments: list[str], why: str) -> None:
    with nothing_written(), pytest.raises(CommandError, match=why):
        call_command("map_repositories", *arguments)
