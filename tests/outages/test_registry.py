"""The registry is down: pages work, nothing is decided wrongly, and claims are pointed later."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db.models import F

from containers.models import Tag as TagRecord
from immutability.look import UNREADABLE_AFTER
from immutability.models import LockedTag
from tests.conftest import AA
from tests.outages.asking import Person, assert_try_again, assert_undecided, waiting
from tests.outages.conftest import count_unfinished, mend
from tests.services.cluster import Cluster
from tests.services.parts import Part, wait_until
from tests.services.registry_user import Repository, digest_of, send

pytestmark = pytest.mark.cluster


@pytest.fixture(params=[Part.stop, Part.hang], ids=["stopped", "hung"])
def break_it(request: pytest.FixtureRequest) -> Callable[[Part], None]:
    break_it: Callable[[Part], None] = request.param
    return break_it


def test_without_the_registry_nothing_is_written_and_pages_work(
    cluster: Cluster,
    repository: Repository,
    person: Person,
    break_it: Callable[[Part], None],
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert repository.put("v1.0.0", one).status == 201
    break_it(cluster.registry)
    pull = f"/v2/{repository.name}/manifests/v1.0.0"
    asked = [
        lambda: repository.put("v1.1.0", two),
        lambda: repository.put("latest", two),
        lambda: repository.put("v1.0.0", one),
        lambda: repository.delete("manifests/latest"),
        lambda: send(repository.port, "GET", pull, headers=repository.login),
    ]
    with ThreadPoolExecutor(len(asked)) as threads:
        for answer in threads.map(lambda ask: ask(), asked):
            assert_try_again(answer)
    # What needs no registry is answered as always.
    assert repository.put("v1.0.0", two).status == 403
    assert person.open("/acme/locked-tags/").status == 200
    assert person.open("/acme/settings/packages/containers/").status == 200
    check = {"repository": repository.name, "tag": "v3.0.0", "digest": AA}
    assert_undecided(person.call("POST", "check-push", check))

    mend(cluster)
    wait_until(lambda: repository.put("v1.1.0", two).status == 201)
    assert repository.put("v1.0.0", two).status == 403
    assert {tag: digest for tag, digest in repository.tags.items() if tag != "latest"} == {
        "v1.0.0": digest_of(one),
        "v1.1.0": digest_of(two),
    }


def test_what_could_not_be_sent_to_the_registry_leaves_the_name_free(
    cluster: Cluster, repository: Repository
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    _break_before_point(cluster, repository, one, Part.stop)
    assert count_unfinished() == 0
    assert not LockedTag.objects.filter(repository=repository.name).exists()

    mend(cluster)
    wait_until(lambda: repository.put("v1.0.0", two).status == 201)


def test_what_was_claimed_when_the_registry_hung_is_pointed_when_it_answers(
    cluster: Cluster, repository: Repository, behind: Repository
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    _break_before_point(cluster, repository, one, Part.hang)
    assert LockedTag.objects.get(repository=repository.name).state == "claimed"

    mend(cluster)

    def push_another() -> bool:
        answer = repository.put("v1.0.0", two)
        assert answer.status in (403, 503), answer
        return answer.status == 403

    wait_until(push_another)
    assert count_unfinished() == 0
    lock = LockedTag.objects.get(repository=repository.name)
    assert (lock.state, lock.digest) == ("locked", digest_of(one))
    assert behind.tags == {"v1.0.0": digest_of(one)}


def test_a_tag_that_the_registry_left_half_written_can_be_pushed_again(
    cluster: Cluster, repository: Repository, behind: Repository
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    behind.put("v1.0.0", one)
    cluster.break_tag(repository.name, "v1.0.0")
    answer = repository.put("v1.0.0", two)
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert 'since it cannot read tag "v1.0.0"' in answer.error["message"]
    assert 200 < int(answer.headers["retry-after"]) <= 300

    TagRecord.objects.update(unreadable_since=F("unreadable_since") - UNREADABLE_AFTER)
    assert repository.put("v1.0.0", two).status == 201
    assert behind.tags == {"v1.0.0": digest_of(two)}
    assert repository.put("v1.0.0", one).status == 403


def test_an_image_that_the_registry_left_half_written_is_stored_again(
    cluster: Cluster, repository: Repository, behind: Repository
) -> None:
    one = repository.make_image("one")
    assert repository.put("v1.0.0", one).status == 201
    cluster.break_image(repository.name, digest_of(one))
    pull = f"/v2/{repository.name}/manifests/v1.0.0"
    assert send(repository.port, "GET", pull, headers=repository.login).status == 500
    assert repository.put("v1.0.0", one).status == 201
    assert behind.tags == {"v1.0.0": digest_of(one)}


def _break_before_point(
    cluster: Cluster, repository: Repository, image: bytes, break_it: Callable[[Part], None]
) -> None:
    """Push, and break the registry once the push has claimed its tag."""
    point = "before the point leaves"
    with waiting(
        point, cluster.folder, lambda fault: repository.put("v1.0.0", image, headers=fault)
    ) as pushing:
        break_it(cluster.registry)
    assert_try_again(pushing.result())
