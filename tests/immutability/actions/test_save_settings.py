"""Saving container settings: versions, consent, the record, and all of it or nothing."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError, connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from immutability.actions import save_settings as module
from immutability.actions.save_settings import (
    MAX_EXAMPLES,
    InvalidDraftError,
    LocksWouldSuspendError,
    StaleSettingsError,
    save_container_settings,
)
from immutability.models import ContainerSettings, LockedTag, Rule, TagException
from immutability.policy.drafts import Draft
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import (
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
)
from immutability.reading import read_policy
from tests.conftest import CACHES, LATEST, SEMVER
from tests.immutability.checks import every_row
from tests.immutability.making import break_the_log, make_lock, make_locks, tag_events
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind, Role
from workspaces.actions.members import add_member
from workspaces.log.models import LockEvent
from workspaces.models import Membership, User, Workspace

ALICE = Actor("alice", ActorKind.PERSON)
PROD = PolicyRule("Prod", "^prod$")
STAGING = PolicyRule("Staging", "^staging$")

NOTHING = Draft(Protection.NONE)
EVERYTHING = Draft(Protection.ALL)
RELEASES = Draft(Protection.SOME, (SEMVER,))


@pytest.fixture(autouse=True)
def _alice(alice: User) -> None:
    """The one who saves is an admin."""


def save(
    workspace: Workspace, draft: Draft, *, version: int | None = None, may_suspend: bool = False
) -> Policy:
    """Save as Alice, over whatever is there unless `version` says otherwise."""
    return save_container_settings(
        workspace,
        draft,
        expected_version=read_policy(workspace).version if version is None else version,
        may_suspend_locks=may_suspend,
        actor=ALICE,
    )


def last_save(workspace: Workspace) -> LockEvent:
    event = LockEvent.objects.filter(workspace=workspace.slug, kind="settings.changed").last()
    assert event is not None
    return event


def moved_locks(workspace: Workspace) -> tuple[int, int]:
    """Return how many locks the last save suspended and resumed, as it was recorded."""
    details = last_save(workspace).details
    assert details is not None
    return details["locks_suspended"], details["locks_resumed"]


# Versions.


def test_a_workspace_protects_nothing_at_version_0(acme: Workspace) -> None:
    assert read_policy(acme) == Policy(version=0, protection=Protection.NONE)


def test_every_save_raises_the_version(acme: Workspace) -> None:
    for version, draft in enumerate((RELEASES, NOTHING, RELEASES, EVERYTHING), start=1):
        assert save(acme, draft) == draft.to_policy(version)
        assert read_policy(acme) == draft.to_policy(version)


@pytest.mark.parametrize("draft", [NOTHING, RELEASES, EVERYTHING])
def test_saving_what_is_saved_already_changes_nothing(acme: Workspace, draft: Draft) -> None:
    saved = save(acme, draft)
    before = every_row()
    assert save(acme, draft) == saved
    assert every_row() == before


def test_saving_what_a_stale_page_shows_is_refused_even_where_it_is_saved_already(
    acme: Workspace,
) -> None:
    save(acme, RELEASES)
    save(acme, EVERYTHING)
    with pytest.raises(StaleSettingsError):
        save(acme, EVERYTHING, version=1)


@pytest.mark.parametrize("pattern", ["^prod$ ", "("])
def test_a_rule_from_before_it_was_refused_may_stay_as_it_is_but_not_be_saved_again(
    acme: Workspace, pattern: str
) -> None:
    saved = save(acme, RELEASES)
    Rule.objects.update(pattern=pattern)
    old = (PolicyRule(saved.rules[0].name, pattern),)
    assert save(acme, Draft(Protection.SOME, old)).version == saved.version
    with pytest.raises(InvalidDraftError):
        save(acme, Draft(Protection.ALL, old))


def test_everything_that_was_typed_is_what_is_read(acme: Workspace) -> None:
    rules = (PROD, SEMVER, PolicyRule(" a  name ", "[ v]\\d| x"), STAGING)
    exceptions = (CACHES, PolicyException(" a  name ", "[ l]atest| x"), LATEST)
    draft = Draft(
        Protection.SOME,
        rules,
        refuse_identical_pushes=True,
        protect_signature_tags=True,
        exceptions=exceptions,
    )
    save(acme, draft)
    assert read_policy(acme) == draft.to_policy(1)
    assert [rule.position for rule in Rule.objects.all()] == [1, 2, 3, 4]
    assert [each.position for each in TagException.objects.all()] == [1, 2, 3]


def test_a_save_says_who_saved_and_when(acme: Workspace) -> None:
    save(acme, RELEASES)
    row = ContainerSettings.objects.get()
    assert row.saved_by == "alice"
    assert abs((timezone.now() - row.saved_at).total_seconds()) < 60


def test_rules_can_change_places_and_names_in_one_save(acme: Workspace) -> None:
    save(acme, Draft(Protection.SOME, (PROD, STAGING)))
    turned = (PolicyRule("staging", "^prod$"), PolicyRule("PROD", "^staging$"))
    save(acme, Draft(Protection.SOME, turned))
    assert read_policy(acme).rules == turned


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.ALL])
def test_rules_are_kept_while_the_protection_is_not_some(
    acme: Workspace, protection: Protection
) -> None:
    rules = (PROD, SEMVER)
    save(acme, Draft(protection, rules))
    assert read_policy(acme).rules == rules
    save(acme, Draft(Protection.SOME, rules))
    assert read_policy(acme).rules == rules


def test_settings_of_another_workspace_stay_as_they_are(
    acme: Workspace, globex: Workspace, alice: User
) -> None:
    add_member(globex, alice, Role.ADMIN, actor=SYSTEM)
    save(globex, RELEASES)
    save(acme, EVERYTHING)
    save(acme, Draft(Protection.SOME, (PROD,)))
    assert read_policy(globex) == RELEASES.to_policy(1)


def test_an_admin_who_is_demoted_while_another_saves_saves_nothing(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(acme, RELEASES)
    lock = QuerySet.select_for_update

    def demote_and_lock(rows: Any, **options: Any) -> Any:
        Membership.objects.update(role="member")
        return lock(rows, **options)

    monkeypatch.setattr(QuerySet, "select_for_update", demote_and_lock)
    with pytest.raises(PermissionDenied):
        save(acme, EVERYTHING)


def test_an_admin_who_was_demoted_meanwhile_saves_nothing(acme: Workspace, alice: User) -> None:
    acme.memberships.filter(user=alice).update(role=Role.MEMBER)
    with nothing_written(), pytest.raises(PermissionDenied):
        save(acme, EVERYTHING)


# Stale.


@pytest.mark.parametrize("version", [0, 1, 3, 99])
def test_a_save_over_another_version_is_refused(acme: Workspace, version: int) -> None:
    save(acme, RELEASES)
    save(acme, EVERYTHING)
    with nothing_written(), pytest.raises(StaleSettingsError) as caught:
        save(acme, NOTHING, version=version)
    assert caught.value.current == EVERYTHING.to_policy(2)
    assert str(caught.value) == "the settings are now at version 2"


def test_a_first_save_over_a_version_that_never_was_is_refused(acme: Workspace) -> None:
    with pytest.raises(StaleSettingsError):
        save(acme, RELEASES, version=1)
    assert not ContainerSettings.objects.exists()


@pytest.mark.both_databases
def test_a_row_that_the_database_refuses_is_not_taken_for_a_stale_version(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise IntegrityError("rule_name_once")

    monkeypatch.setattr(module, "_write", fail)
    with pytest.raises(InvalidDraftError, match="treats as the same"):
        save(acme, RELEASES)
    assert read_policy(acme).version == 0


# Invalid.


@pytest.mark.parametrize(
    "draft",
    [
        Draft(Protection.SOME),
        Draft(Protection.SOME, (PolicyRule("", "x"),)),
        Draft(Protection.SOME, (PolicyRule("x", ""),)),
        Draft(Protection.SOME, (PolicyRule("x", "("),)),
        Draft(Protection.NONE, (PolicyRule("x", "("),)),
        Draft(Protection.ALL, tuple(PolicyRule(str(each), "x") for each in range(8))),
        Draft(Protection.SOME, (PROD, PolicyRule("PROD", "x"))),
        Draft(Protection.SOME, (PolicyRule("x", "a" * 101),)),
        Draft(Protection.SOME, (PolicyRule("a" * 65, "x"),)),
    ],
)
def test_an_invalid_draft_changes_nothing(acme: Workspace, draft: Draft) -> None:
    save(acme, RELEASES)
    with nothing_written(), pytest.raises(InvalidDraftError) as caught:
        save(acme, draft)
    assert caught.value.problems
    assert str(caught.value) == "; ".join(each.message for each in caught.value.problems)


def test_what_is_wrong_is_told_before_what_is_stale(acme: Workspace) -> None:
    with pytest.raises(InvalidDraftError, match="Add a rule, or choose No tags are protected"):
        save(acme, Draft(Protection.SOME), version=99)


# Consent.


def test_suspending_locks_needs_consent(acme: Workspace) -> None:
    save(acme, EVERYTHING)
    for tag in ("v1.2.0", "nightly", "latest"):
        make_lock(acme, tag)
    with nothing_written(), pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, RELEASES)
    assert caught.value.count == 2
    assert caught.value.examples == ["acme/api:latest", "acme/api:nightly"]
    with pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, NOTHING)
    assert caught.value.count == 3
    assert save(acme, NOTHING, may_suspend=True).version == 2


def test_some_locks_are_named_and_all_are_counted(acme: Workspace) -> None:
    save(acme, EVERYTHING)
    for number in range(MAX_EXAMPLES + 5):
        make_lock(acme, f"t{number}")
    with pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, NOTHING)
    assert (caught.value.count, len(caught.value.examples)) == (MAX_EXAMPLES + 5, MAX_EXAMPLES)


@pytest.mark.parametrize(
    ("after", "count"), [(NOTHING, 3), (RELEASES, 2), (Draft(Protection.SOME, (PROD,)), 3)]
)
def test_of_many_locks_the_newest_are_counted_and_that_is_said(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, after: Draft, count: int
) -> None:
    monkeypatch.setattr(module, "MAX_COUNTED_AT_ONCE", 3)
    save(acme, EVERYTHING)
    for tag in ("old", "v1.0.0", "new", "newest"):
        make_lock(acme, tag)
    with nothing_written(), pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, after)
    assert (caught.value.count, caught.value.is_exact) == (count, False)
    assert caught.value.summary == f"Saving would suspend at least {count} locks"
    assert "acme/api:old" not in caught.value.examples
    assert save(acme, after, may_suspend=True).version == 2


def test_where_none_of_the_newest_would_be_suspended_others_might(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_COUNTED_AT_ONCE", 1)
    save(acme, EVERYTHING)
    for tag in ("latest", "v1.0.0"):
        make_lock(acme, tag)
    with nothing_written(), pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, RELEASES)
    assert caught.value.count == 0
    assert caught.value.summary == "Saving may suspend locks"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RELEASES, Draft(Protection.SOME, (PROD, SEMVER))),
        (RELEASES, EVERYTHING),
        (NOTHING, RELEASES),
        (EVERYTHING, Draft(Protection.ALL, protect_signature_tags=True)),
    ],
)
def test_what_covers_no_less_needs_no_consent_among_many_locks_either(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, before: Draft, after: Draft
) -> None:
    monkeypatch.setattr(module, "MAX_COUNTED_AT_ONCE", 1)
    save(acme, before)
    make_locks(acme, 0, 4)
    assert save(acme, after).protection == after.protection


SIGNATURE = "sha256-" + "0" * 64
SIGNATURES = Draft(Protection.ALL, protect_signature_tags=True)


@pytest.mark.parametrize(
    ("before", "after", "locks", "suspended", "resumed"),
    [
        (RELEASES, Draft(Protection.SOME, (SEMVER, PROD)), ["v1.2.0"], 0, 0),
        (RELEASES, EVERYTHING, ["v1.2.0", "latest"], 0, 1),
        (RELEASES, Draft(Protection.SOME, (PolicyRule("Renamed", "^v"),)), ["v1.2.0"], 0, 0),
        (RELEASES, Draft(Protection.SOME, (PROD,)), ["v1.2.0", "prod", "latest"], 1, 1),
        (RELEASES, NOTHING, ["v1.2.0", "latest"], 1, 0),
        (SIGNATURES, EVERYTHING, [SIGNATURE, "v1"], 1, 0),
        (EVERYTHING, SIGNATURES, [SIGNATURE, "v1"], 0, 1),
        (NOTHING, Draft(Protection.NONE, refuse_identical_pushes=True), ["v1"], 0, 0),
    ],
)
def test_what_is_suspended_and_resumed_is_counted(
    acme: Workspace, before: Draft, after: Draft, locks: list[str], suspended: int, resumed: int
) -> None:
    save(acme, before)
    for tag in locks:
        make_lock(acme, tag)
    if suspended:
        with nothing_written(), pytest.raises(LocksWouldSuspendError) as caught:
            save(acme, after)
        assert caught.value.count == suspended
    save(acme, after, may_suspend=bool(suspended))
    assert moved_locks(acme) == (suspended, resumed)


@pytest.mark.parametrize(
    ("state", "counts"), [("reserved", 1), ("released", 1), ("deleting", 1), ("claimed", 0)]
)
def test_a_claim_is_no_lock_yet(acme: Workspace, state: str, counts: int) -> None:
    save(acme, EVERYTHING)
    make_lock(acme, "v1", state)
    save(acme, NOTHING, may_suspend=True)
    assert moved_locks(acme) == (counts, 0)


def test_locks_of_one_tag_in_several_repositories_each_count(acme: Workspace) -> None:
    save(acme, EVERYTHING)
    for repository in ("acme/web", "acme/api"):
        make_lock(acme, "v1", repository=repository)
    with pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, NOTHING)
    assert (caught.value.count, caught.value.examples) == (2, ["acme/api:v1", "acme/web:v1"])


def test_locks_of_another_workspace_do_not_count(acme: Workspace, globex: Workspace) -> None:
    save(acme, EVERYTHING)
    make_lock(globex, "v1")
    save(acme, NOTHING)
    assert moved_locks(acme) == (0, 0)


# The record.


def test_a_save_is_recorded_with_what_was_before_and_after(acme: Workspace) -> None:
    save(acme, RELEASES)
    save(acme, Draft(Protection.ALL, (PROD,), refuse_identical_pushes=True, exceptions=(LATEST,)))
    event = last_save(acme)
    assert (event.actor, event.actor_kind, event.settings_version) == ("alice", "person", 2)
    assert event.details == {
        "before": {
            "version": 1,
            "protection": "some",
            "rules": [{"name": SEMVER.name, "pattern": SEMVER.pattern}],
            "refuse_identical_pushes": False,
            "protect_signature_tags": False,
            "exceptions": [],
            "repair_drift": False,
        },
        "after": {
            "version": 2,
            "protection": "all",
            "rules": [{"name": "Prod", "pattern": "^prod$"}],
            "refuse_identical_pushes": True,
            "protect_signature_tags": False,
            "exceptions": [{"name": "Moving latest", "pattern": "^latest$"}],
            "repair_drift": False,
        },
        "locks_suspended": 0,
        "locks_resumed": 0,
    }


def test_no_lock_has_an_event_of_its_own_or_is_touched(acme: Workspace) -> None:
    save(acme, EVERYTHING)
    make_lock(acme, "v1")
    before = LockedTag.objects.values().get()
    save(acme, NOTHING, may_suspend=True)
    save(acme, EVERYTHING)
    assert tag_events(acme) == []
    assert LockedTag.objects.values().get() == before


@pytest.mark.parametrize("after", [NOTHING, RELEASES])
def test_a_save_costs_the_same_statements_however_many_locks_there_are(
    acme: Workspace, after: Draft
) -> None:
    def count_statements() -> int:
        save(acme, EVERYTHING)
        with CaptureQueriesContext(connection) as captured:
            save(acme, after, may_suspend=True)
        return len(captured)

    make_locks(acme, 0, 10)
    few = count_statements()
    make_locks(acme, 10, 1000)
    assert count_statements() == few
    # Which lock is the newest and the order to count them, instead of reading them.
    make_locks(acme, 1000, 1010)
    assert count_statements() == few + 1


@pytest.mark.parametrize(
    ("draft", "url", "is_asked"),
    [
        (EVERYTHING, "http://registry.internal:5000", True),
        (RELEASES, "http://registry.internal:5000", True),
        (NOTHING, "http://registry.internal:5000", False),
        (EVERYTHING, "", False),
    ],
)
def test_protection_has_what_the_registry_has_read(
    acme: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    draft: Draft,
    url: str,
    *,
    is_asked: bool,
) -> None:
    settings.REGISTRY_URL = url
    asked: list[Workspace] = []
    monkeypatch.setattr(module, "ask_for_inventory", asked.append)
    save(acme, draft)
    assert asked == ([acme] if is_asked else [])


def test_a_save_that_cannot_be_recorded_does_not_happen(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(acme, EVERYTHING)
    break_the_log(monkeypatch)
    with nothing_written(), pytest.raises(DatabaseError, match="disk full"):
        save(acme, NOTHING)


def test_a_save_that_cannot_tell_which_locks_it_moves_does_not_happen(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(acme, EVERYTHING)
    make_lock(acme, "v1")

    def fail(*args: object) -> None:
        raise PatternEvaluationError("out of memory")

    monkeypatch.setattr("immutability.policy.patterns.Pattern.find", fail)
    with nothing_written(), pytest.raises(PatternEvaluationError):
        save(acme, RELEASES, may_suspend=True)


def test_a_save_that_another_one_overtakes_is_stale(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is saved after the locks were counted, and before the settings are held."""
    save(acme, EVERYTHING)
    compare = module._compare

    def compare_and_be_overtaken(*args: Any, **options: Any) -> Any:
        move = compare(*args, **options)
        monkeypatch.setattr(module, "_compare", compare)
        save(acme, RELEASES)
        return move

    monkeypatch.setattr(module, "_compare", compare_and_be_overtaken)
    with pytest.raises(StaleSettingsError):
        save(acme, NOTHING)
    assert read_policy(acme) == RELEASES.to_policy(2)


# Exceptions.

BUT_LATEST = Draft(Protection.ALL, exceptions=(LATEST,))


def test_exceptions_are_replaced_whole_and_in_their_order(acme: Workspace) -> None:
    for exceptions in ((LATEST, CACHES), (CACHES, LATEST), (CACHES,), ()):
        save(acme, Draft(Protection.ALL, exceptions=exceptions))
        assert read_policy(acme).exceptions == exceptions


def test_a_change_of_exceptions_alone_is_a_change(acme: Workspace) -> None:
    assert save(acme, EVERYTHING).version == 1
    assert save(acme, BUT_LATEST).version == 2
    assert save(acme, BUT_LATEST).version == 2


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.SOME])
def test_exceptions_are_kept_while_not_all_tags_are_protected(
    acme: Workspace, protection: Protection
) -> None:
    save(acme, Draft(protection, (SEMVER,), exceptions=(LATEST,)))
    assert read_policy(acme).exceptions == (LATEST,)


def test_an_exception_that_suspends_a_lock_needs_consent(acme: Workspace) -> None:
    save(acme, EVERYTHING)
    make_lock(acme, "latest")
    make_lock(acme, "v1")
    with nothing_written(), pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, BUT_LATEST)
    assert (caught.value.count, caught.value.examples) == (1, ["acme/api:latest"])
    save(acme, BUT_LATEST, may_suspend=True)
    assert moved_locks(acme) == (1, 0)
    save(acme, EVERYTHING)
    assert moved_locks(acme) == (0, 1)


def test_from_some_to_all_with_an_exception_a_rule_may_lose_its_locks(acme: Workspace) -> None:
    """Exceptions that were kept count again: no lock is suspended without consent."""
    some = Draft(Protection.SOME, (PolicyRule("Latest", "^latest$"),), exceptions=(LATEST,))
    save(acme, some)
    make_lock(acme, "latest")
    with pytest.raises(LocksWouldSuspendError):
        save(acme, Draft(Protection.ALL, some.rules, exceptions=(LATEST,)))


def test_of_many_locks_a_new_exception_asks_and_one_less_does_not(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_COUNTED_AT_ONCE", 2)
    save(acme, BUT_LATEST)
    make_locks(acme, 0, 4)
    with pytest.raises(LocksWouldSuspendError) as caught:
        save(acme, Draft(Protection.ALL, exceptions=(LATEST, CACHES)))
    assert (caught.value.count, caught.value.is_exact) == (0, False)
    assert save(acme, EVERYTHING).version == 2


@pytest.mark.parametrize("kind", PatternKind)
def test_what_the_database_takes_for_the_same_name_is_told(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch, kind: PatternKind
) -> None:
    monkeypatch.setattr(module, "find_draft_problems", lambda _: [])
    rules = (PolicyRule("A", "^a"), PolicyRule("a", "^b"))
    exceptions = tuple(PolicyException(each.name, each.pattern) for each in rules)
    is_rule = kind is PatternKind.RULE
    draft = Draft(
        Protection.ALL, rules if is_rule else (), exceptions=() if is_rule else exceptions
    )
    with nothing_written(), pytest.raises(InvalidDraftError) as caught:
        save(acme, draft)
    [problem] = caught.value.problems
    assert (problem.field, problem.kind) == (kind.plural, kind)
    assert problem.message.startswith(f"Two {kind.plural} have names")


def test_an_exception_that_cannot_be_evaluated_saves_nothing(acme: Workspace) -> None:
    save(acme, BUT_LATEST)
    make_lock(acme, "v1")
    TagException.objects.update(pattern="(")
    with nothing_written(), pytest.raises(PatternError):
        save(acme, NOTHING)
