"""check_drift: where the registry and the locks say different things."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from containers.management import find
from containers.models import Tag as TagRecord
from containers.registry.client import RegistryAnswer, RegistryClient
from immutability.look import UNREADABLE_AFTER
from immutability.models import LockedTag
from immutability.policy.protection import Protection
from immutability.reconcile.unlocked import find_without_lock, forget_gone
from tests.conftest import SEMVER
from tests.immutability.core import Core, named
from tests.immutability.reconcile.conftest import Library
from tests.immutability.registry_double import (
    INDEX_TYPE,
    NO_ANSWER,
    Carry,
    digest_of,
    image,
    index,
)
from workspaces.log.models import EventRepeat, LockEvent
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))
LIST = index(ONE)
TOP = index(LIST, TWO)

Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(
    monkeypatch: pytest.MonkeyPatch,
    client: RegistryClient,
    capsys: pytest.CaptureFixture[str],
    one_by_one: None,
) -> Check:
    """Return a function that calls the command; it returns the status and the lines."""
    monkeypatch.setattr(find, "find_registry", lambda _: client)

    def check(*arguments: str) -> tuple[int, list[str]]:
        status = 0
        try:
            call_command("check_drift", *arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        return status, capsys.readouterr().out.splitlines()

    return check


def _short(body: bytes) -> str:
    return f"sha256:{digest_of(body)[7:19]}…"


NOTHING = (0, ["0 differences found."])


def test_where_all_is_well_nothing_is_found(gate: Core, library: Library, check: Check) -> None:
    for body in (ONE, TWO):
        library.store(body)
    library.store(LIST, media_type=INDEX_TYPE)
    gate.push("v1", image=ONE)
    gate.push("v2", image=TOP)
    gate.push("v3", image=ONE)
    gate.delete("v3", is_admin=True)
    assert check() == NOTHING
    assert not LockEvent.objects.filter(kind="drift.found").exists()


def test_every_difference_is_a_line_an_event_and_a_status(
    gate: Core, library: Library, check: Check
) -> None:
    for tag in ("moved", "gone", "back"):
        gate.push(tag, image=ONE)
    LockedTag.objects.filter(tag="back").update(state="reserved")
    library.store(TWO, "moved", "new")
    del library.tags["gone"]
    status, printed = check("acme")
    assert status == 1
    assert sorted(printed) == [
        "4 differences found.",
        "acme/api:back: its name is reserved, and the registry has the tag",
        f"acme/api:gone: locked to {_short(ONE)}, and the registry does not have the tag",
        f"acme/api:moved: locked to {_short(ONE)}, and the registry has {_short(TWO)}",
        "acme/api:new: protected, and not locked yet: sync_registry locks it",
    ]
    events = LockEvent.objects.filter(kind="drift.found").order_by("tag")
    one, two = digest_of(ONE), digest_of(TWO)
    assert [(event.tag, event.digest, event.other_digest) for event in events] == [
        ("back", one, one),
        ("gone", one, ""),
        ("moved", one, two),
        ("new", "", two),
    ]
    assert {(event.actor, event.actor_kind) for event in events} == {("taglock", "system")}


@pytest.mark.parametrize("missing", [ONE, TWO, LIST], ids=["deep", "direct", "a list"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_locked_index_is_compared_with_all_that_it_lists(
    gate: Core, library: Library, check: Check, missing: bytes, *, is_known: bool
) -> None:
    for body in (ONE, TWO):
        library.store(body)
    library.store(LIST, media_type=INDEX_TYPE)
    if is_known:
        gate.push("v1", "v2", image=TOP)
    else:
        library.store(TOP, "v1", "v2", media_type=INDEX_TYPE)
        check()
        # Locked by pushes that are refused: nothing is known of what they list.
        assert [gate.push(tag, image=ONE) for tag in ("v1", "v2")] == ["403 locked"] * 2
    del library.manifests[digest_of(missing)]
    status, printed = check()
    said = f"locked to {_short(TOP)}, which lists {digest_of(missing)}: the registry does not have"
    assert (status, [line.split(": ", 1)[1][: len(said)] for line in printed[:-1]]) == (
        1,
        [said, said],
    )
    assert LockEvent.objects.filter(kind="drift.found", digest=digest_of(TOP)).count() == 2


def test_what_is_listed_twice_is_asked_for_once(gate: Core, library: Library, check: Check) -> None:
    library.store(ONE)
    gate.push("v1", "v2", image=LIST)
    library.calls.clear()
    assert check() == NOTHING
    assert library.heads().count(digest_of(ONE)) == 1


def test_what_is_found_again_is_recorded_once(gate: Core, library: Library, check: Check) -> None:
    gate.push("v1", image=ONE)
    library.tags.clear()
    for _ in range(3):
        assert check()[0] == 1
    assert LockEvent.objects.filter(kind="drift.found").count() == 1


def test_what_is_found_again_of_a_tag_without_a_lock_is_counted(
    gate: Core, library: Library, check: Check
) -> None:
    library.store(ONE, "v1")
    for _ in range(3):
        assert check()[0] == 1
    assert LockEvent.objects.filter(kind="drift.found").count() == 1
    assert EventRepeat.objects.get().count == 2


@pytest.mark.parametrize("state", ["claimed", "released", "deleting"])
def test_what_is_not_covered_or_not_promised_is_no_drift(
    gate: Core, library: Library, check: Check, state: str
) -> None:
    gate.push("v1.0.0", image=ONE)
    gate.push("nightly", image=ONE)
    gate.protect(Protection.SOME, SEMVER)
    library.tags["nightly"] = library.store(TWO)
    assert check() == NOTHING
    LockedTag.objects.update(state=state)
    del library.tags["v1.0.0"]
    assert check() == NOTHING


@pytest.mark.parametrize(
    "change",
    [
        {"write_id": "0" * 32, "write_kind": "push"},
        {"stray_until": Now() + timedelta(minutes=5)},
        {"stray_until": Now() - timedelta(minutes=5)},
    ],
    ids=["write", "stray", "stray that was not looked at"],
)
@pytest.mark.parametrize("has_lock", [True, False])
def test_what_a_write_may_still_change_is_no_drift(
    gate: Core, library: Library, check: Check, change: dict[str, Any], *, has_lock: bool
) -> None:
    gate.push("v1", image=ONE)
    if not has_lock:
        LockedTag.objects.all().delete()
    TagRecord.objects.update(**change)
    library.store(TWO, "v1")
    assert check() == NOTHING
    library.tags.clear()
    assert check() == NOTHING


def test_what_changes_while_it_is_looked_at_is_no_drift(
    gate: Core, library: Library, check: Check
) -> None:
    gate.push("v1", image=ONE)

    def delete(carry: Carry) -> RegistryAnswer:
        gate.delete("v1", is_admin=True)
        return carry()

    library.script("HEAD v1", delete)
    assert check() == NOTHING


@pytest.mark.parametrize("what", ["HEAD v1", f"HEAD {digest_of(ONE)}"])
def test_a_tag_that_the_registry_cannot_show_does_not_stop_the_others(
    gate: Core, library: Library, check: Check, what: str
) -> None:
    library.store(ONE)
    gate.push("v1", image=LIST)
    gate.push("v2", image=TWO)
    library.store(ONE, "v2")
    library.script(what, NO_ANSWER)
    status, printed = check()
    assert (status, printed[1:]) == (
        1,
        ["1 tag could not be looked at.", "1 difference found."],
    )


def test_a_tag_that_the_registry_cannot_read_is_named_once_that_is_sure(
    gate: Core, library: Library, check: Check
) -> None:
    library.store(ONE, "v1", "v2")
    library.unreadable |= {"v1", "v2"}
    status, printed = check()
    assert (status, printed[2:]) == (
        1,
        ["Repositories that could not be read: 2.", "0 differences found."],
    )
    start = "acme/api: it cannot be looked at: the registry answered 500"
    assert [line.startswith(start) for line in printed[:2]] == [True, True]
    gate.let_pass(seconds=UNREADABLE_AFTER.total_seconds())
    line = "acme/api:v1: protected, and the registry cannot read it: push it, or delete it there"
    assert check() == (1, [line, line.replace("v1", "v2"), "2 differences found."])
    events = LockEvent.objects.filter(kind="drift.found")
    assert set(events.values_list("tag", flat=True)) == {"v1", "v2"}


def test_one_that_it_has_shown_before_can_be_forgotten_and_pushed_then(
    unprotected: Core, library: Library, check: Check
) -> None:
    unprotected.push("v1", image=ONE)
    unprotected.push("v2", image=ONE)
    unprotected.protect()
    library.break_tag("v1")
    library.break_tag("v2")
    status, printed = check()
    assert (status, printed[2]) == (1, "Repositories that could not be read: 2.")
    unprotected.let_pass(seconds=UNREADABLE_AFTER.total_seconds())
    assert check("--forget-gone")[1].count("    forgotten") == 2
    assert unprotected.push("v1", image=TWO) == "201"


def test_a_registry_that_does_not_answer_is_no_drift(
    gate: Core, library: Library, check: Check
) -> None:
    library.store(ONE)
    gate.push("v1", image=LIST)
    library.script("CATALOG", NO_ANSWER)
    with pytest.raises(CommandError, match="Stopped before the end"):
        check()
    assert not LockEvent.objects.filter(kind="drift.found").exists()


def test_a_repository_whose_tags_cannot_be_listed_does_not_stop_the_others(
    gate: Core, library: Library, check: Check
) -> None:
    library.store(ONE, "v1")
    library.repositories.append("acme/broken")
    library.broken = {"acme/broken"}
    status, printed = check()
    assert (status, printed) == (
        1,
        [
            "acme/api:v1: protected, and not locked yet: sync_registry locks it",
            "acme/broken: it cannot be looked at: GET: answered 500",
            "Repositories that could not be read: 1.",
            "1 difference found.",
        ],
    )


def test_a_tag_that_was_removed_behind_taglocks_back_is_forgotten_where_somebody_says_so(
    unprotected: Core, library: Library, check: Check
) -> None:
    unprotected.push("v1", image=ONE)
    unprotected.protect()
    library.tags.clear()
    status, printed = check()
    assert status == 1
    assert printed[0] == (
        f"acme/api:v1: was seen there with {_short(ONE)}, and is gone: another image is refused "
        "until it is forgotten"
    )
    # It might be the registry that has lost its storage.
    assert unprotected.record().digest == digest_of(ONE)
    assert check("--forget-gone") == (0, [printed[0], "    forgotten", "0 differences found."])
    assert unprotected.push("v1", image=TWO) == "201"


@pytest.mark.parametrize("change", ["pushed", "locked"])
def test_what_has_changed_since_is_not_forgotten(
    unprotected: Core, library: Library, client: RegistryClient, change: str
) -> None:
    unprotected.push("v1", image=ONE)
    unprotected.protect()
    library.tags.clear()
    (drift,) = find_without_lock(unprotected.workspace, client)
    if change == "pushed":
        unprotected.protect(Protection.NONE)
        unprotected.push("v1", image=TWO)
    else:
        unprotected.push("v1", image=TWO)
    before = unprotected.record().digest
    assert not forget_gone(drift)
    assert unprotected.record().digest == before


def test_a_difference_of_another_kind_is_not_forgotten(
    gate: Core, library: Library, check: Check
) -> None:
    gate.push("v1", image=ONE)
    library.tags.clear()
    status, printed = check("--forget-gone")
    assert (status, len(printed)) == (1, 2)
    assert gate.lock() == "locked one"


def test_what_is_missing_is_named(
    gate: Core, globex: Workspace, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="There is no workspace nowhere"):
        check("acme", "nowhere")
    monkeypatch.setattr(find, "find_registry", lambda _: None)
    with pytest.raises(CommandError, match="REGISTRY_URL"):
        check()
