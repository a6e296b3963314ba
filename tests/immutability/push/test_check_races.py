"""Sixteen checks at the same moment: only one image is allowed."""

from collections import Counter
from functools import partial

import pytest

from immutability.models import Claim, LockedTag
from tests.at_once import at_once
from tests.immutability.checks import Checks
from tests.immutability.core import Core, named
from tests.immutability.registry_double import digest_of, image

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both_databases,
    pytest.mark.slow,
]

IMAGES = [named(f"image {number}", image(str(number))) for number in range(16)]
ONE = IMAGES[0]


@pytest.fixture(params=[True, False], ids=["connected", "not connected"])
def checks(core: Core, request: pytest.FixtureRequest) -> Checks:
    return Checks(core, request.param)


def test_of_many_images_one_is_locked_and_the_others_are_refused(checks: Checks) -> None:
    told = at_once([partial(checks.push, "v1", image=each) for each in IMAGES])
    assert Counter(told) == {"locked_now": 1, "locked": 15}
    allowed = IMAGES[told.index("locked_now")]
    assert checks.core.lock() == f"locked {checks.core.name_of(digest_of(allowed))}"
    assert checks.core.events().count("tag.locked") == 1


def test_the_same_image_is_locked_once_and_unchanged_for_the_others(checks: Checks) -> None:
    told = at_once([partial(checks.push, "v1", image=ONE) for _ in range(16)])
    assert Counter(told) == {"locked_now": 1, "unchanged": 15}


def test_tags_named_in_any_order_are_locked_together(checks: Checks) -> None:
    tags = ["v1", "v2", "v3"]
    told = at_once(
        [
            partial(checks.push, *(tags if number % 2 else reversed(tags)), image=each)
            for number, each in enumerate(IMAGES)
        ]
    )
    assert Counter(told) == {"locked_now": 1, "locked": 15}
    assert LockedTag.objects.values_list("digest").distinct().count() == 1


@pytest.mark.parametrize("is_same", [True, False])
def test_of_many_begins_one_gets_the_claim(checks: Checks, *, is_same: bool) -> None:
    told = at_once(
        [
            partial(checks.push, "v1", image=ONE if is_same else each, two_phase=True)
            for each in IMAGES
        ]
    )
    assert Counter(told) == {"claimed": 1, "claim_pending": 15}
    assert Claim.objects.count() == 1


def test_one_idempotency_key_gets_one_claim(checks: Checks) -> None:
    claims = at_once([partial(checks.begin, "v1", image=ONE, key="build 7") for _ in range(16)])
    assert len({claim.id for claim in claims}) == 1


def test_a_claim_ends_one_way(checks: Checks) -> None:
    claim = checks.begin("v1", image=ONE)
    ends = [
        partial(checks.confirm if number % 2 else checks.abandon, claim) for number in range(16)
    ]
    told = Counter(at_once(ends))
    assert told["409"] == 8
    assert checks.core.lock() in (f"locked {checks.core.name_of(digest_of(ONE))}", "none")


def test_a_push_and_a_delete_never_leave_a_lock_without_its_stray(checks: Checks) -> None:
    checks.push("v1", image=ONE)
    told = at_once(
        [
            partial(checks.delete, "v1", is_admin=True)
            if number % 2
            else partial(checks.push, "v1", image=ONE)
            for number in range(16)
        ]
    )
    assert set(told) <= {"unchanged", "deleted", "not_locked", "claim_pending"}
    assert "deleted" in told
    assert checks.core.lock().startswith("reserved")
    assert checks.core.stray() == "delete or several"
