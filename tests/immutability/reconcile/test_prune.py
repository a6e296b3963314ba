"""Old pushes are forgotten, with what only they needed; locks, records and the log stay."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from containers.models import Manifest, ManifestReference, Push
from containers.models import Tag as TagRecord
from immutability.models import Claim, LockedTag, Pruning
from immutability.policy.protection import Protection
from immutability.reconcile import prune as pruning
from immutability.reconcile.prune import prune
from immutability.tasks import prune_old
from tests.immutability.core import Core, named
from tests.immutability.registry_double import digest_of, image, index
from tests.problems import nothing_written

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("kept_core"),
]

ONE, TWO, THREE, FOUR = (named(name, image(name)) for name in ("one", "two", "three", "four"))
CHILD = named("child", image("child"))
LIST = named("list", index(CHILD, ONE))


def grow_old(days: int = 40) -> None:
    Push.objects.update(at=F("at") - timedelta(days=days))


def run(core: Core, days: int = 30) -> int:
    """Begin a new passage."""
    # SQLite's clock knows milliseconds alone.
    Pruning.objects.update(rests_until=timezone.now() - timedelta(seconds=1))
    return prune(days)


def pushes() -> list[tuple[str, str]]:
    rows = Push.objects.order_by("id").values_list("tag", "digest")
    return [(tag, digest) for tag, digest in rows]


def manifests() -> set[str]:
    return set(Manifest.objects.values_list("digest", flat=True))


def digests(*bodies: bytes) -> set[str]:
    return {digest_of(body) for body in bodies}


def test_of_each_tag_the_last_old_push_stays_and_all_that_are_young(core: Core) -> None:
    core.protect(Protection.NONE)
    for body in (ONE, TWO, THREE):
        core.push("latest", image=body)
    core.push("v1", image=ONE)
    with nothing_written():
        prune(0)
    assert run(core) == 0
    grow_old()
    core.push("latest", image=FOUR)
    assert run(core) == 2
    assert pushes() == [
        *(("latest", digest_of(THREE)), ("v1", digest_of(ONE)), ("latest", digest_of(FOUR)))
    ]
    # Another tag has the first one.
    assert manifests() == digests(ONE, THREE, FOUR)
    assert run(core) == 0
    # The last push from before tells what the next one replaced, and is then the newest old one.
    grow_old()
    assert run(core) == 1
    assert pushes() == [("v1", digest_of(ONE)), ("latest", digest_of(FOUR))]


def test_manifests_that_something_names_stay(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("one", image=ONE)
    core.push("child", image=CHILD)
    core.push("latest", image=LIST)
    core.push("latest", image=TWO)
    core.push("latest", image=THREE)
    core.push("latest", image=FOUR)
    # A lock, and a stray, each of one that the tag has no more.
    core.protect()
    core.push("held", image=TWO)
    TagRecord.objects.filter(name="one").update(
        stray_until=timezone.now() + timedelta(hours=1), stray_digest=digest_of(THREE)
    )
    grow_old()
    assert run(core) == 3
    # The index is gone with what it says; what it listed is tagged.
    assert manifests() == digests(ONE, CHILD, TWO, THREE, FOUR)
    assert not ManifestReference.objects.exists()
    assert LockedTag.objects.get().tag == "held"


def test_what_only_a_forgotten_index_listed_is_forgotten_too(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push(image=CHILD)
    core.push("one", image=ONE)
    core.push("latest", image=LIST)
    assert manifests() == digests(ONE, CHILD, LIST)
    core.push("latest", image=TWO)
    # A delete of it has begun once: its revision still counts.
    core.push("deleted", image=THREE)
    core.push("deleted", image=FOUR)
    Manifest.objects.filter(digest=digest_of(THREE)).update(revision=1)
    grow_old()
    assert run(core) == 2
    assert manifests() == digests(ONE, TWO, THREE, FOUR)
    # It can be pushed again as if for the first time.
    assert core.push("again", image=LIST) == "201"


def test_it_goes_on_where_it_stopped_and_rests_at_the_end(
    core: Core, monkeypatch: pytest.MonkeyPatch, settings: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(pruning, "_BATCH", 2)
    monkeypatch.setattr(pruning, "RUN_SECONDS", 0.0)
    core.protect(Protection.NONE)
    for body in (ONE, TWO, ONE, TWO, THREE):
        core.push("latest", image=body)
    claims = [
        {"outcome": outcome, "id": f"{n:032x}"}
        for n, outcome in enumerate(["open", "confirmed", "dropped", "abandoned"])
    ]
    for each in claims:
        Claim.objects.create(
            workspace=core.workspace,
            tags=[],
            begun_at=timezone.now() - timedelta(days=40),
            expires_at=timezone.now(),
            **each,
        )
    grow_old()
    settings.PUSH_RETENTION_DAYS = 30  # type: ignore[attr-defined]
    # Two, two, and the last one, which stays.
    assert [prune(30) for _ in range(3)] == [2, 2, 0]
    assert Claim.objects.count() == 4
    # Then the claims that have ended.
    prune_old()
    assert Claim.objects.count() == 2
    prune_old()
    assert [each.outcome for each in Claim.objects.all()] == ["open"]
    grow_old()
    with nothing_written():
        prune_old()
    assert Pruning.objects.get().last_push_id == 0
