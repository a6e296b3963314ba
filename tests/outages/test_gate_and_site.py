"""The gate or the site is down: everything else goes on, and nothing is lost."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.conftest import AA
from tests.outages.asking import Person, assert_try_again, read_json
from tests.outages.conftest import mend
from tests.services.cluster import Cluster
from tests.services.parts import Part, wait_until
from tests.services.registry_user import Answer, Repository, digest_of

pytestmark = pytest.mark.cluster


@pytest.fixture(params=[Part.stop, Part.hang], ids=["stopped", "hung"])
def break_it(request: pytest.FixtureRequest) -> Callable[[Part], None]:
    break_it: Callable[[Part], None] = request.param
    return break_it


def _at_once(*requests: Callable[[], Answer]) -> list[Answer]:
    """Ask all of it at the same time: who hangs is waited for once."""
    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(lambda ask: ask(), requests))


def test_without_a_gate_pulls_and_pages_work_and_nothing_is_written(
    cluster: Cluster,
    repository: Repository,
    person: Person,
    break_it: Callable[[Part], None],
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert repository.put("v1.0.0", one).status == 201
    for gate in cluster.gates:
        break_it(gate)
    for answer in _at_once(
        lambda: repository.put("v1.0.0", two),
        lambda: repository.put("v1.1.0", two),
        lambda: repository.delete(f"manifests/{digest_of(one)}"),
    ):
        assert_try_again(answer)
    assert repository.tags == {"v1.0.0": digest_of(one)}
    assert repository.make_image("three")
    assert person.open("/acme/locked-tags/").status == 200
    assert read_json(person.check_push(repository.name, "v3.0.0", AA))["allowed"] is True

    mend(cluster)
    wait_until(lambda: repository.put("v1.1.0", two).status == 201)
    assert repository.put("v1.0.0", two).status == 403
    assert repository.tags == {"v1.0.0": digest_of(one), "v1.1.0": digest_of(two)}


def test_without_one_of_two_gates_a_client_that_tries_again_gets_through(
    two_gates: Cluster, repository: Repository, break_it: Callable[[Part], None]
) -> None:
    images = [repository.make_image(str(number)) for number in range(6)]
    break_it(two_gates.gates[0])

    def is_pushed(tag: str, image: bytes) -> bool:
        answer = repository.put(tag, image)
        if answer.status != 201:
            assert_try_again(answer)
        return answer.status == 201

    for number, image in enumerate(images):
        wait_until(partial(is_pushed, f"v1.{number}.0", image))
    assert repository.tags == {
        f"v1.{number}.0": digest_of(image) for number, image in enumerate(images)
    }


def test_without_the_site_pulls_and_pushes_work_and_a_page_says_so(
    cluster: Cluster,
    repository: Repository,
    person: Person,
    break_it: Callable[[Part], None],
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    break_it(cluster.site)
    page, check, pushed = _at_once(
        lambda: person.open("/acme/locked-tags/"),
        lambda: person.check_push(repository.name, "v3.0.0", AA),
        lambda: repository.put("v1.0.0", one),
    )
    assert pushed.status == 201
    assert repository.put("v1.0.0", two).status == 403
    assert repository.tags == {"v1.0.0": digest_of(one)}
    for answer in (page, check):
        assert (answer.status, answer.headers["retry-after"]) == (503, "10")
        assert answer.headers["content-type"].startswith("text/plain")
        assert b"not running" in answer.body

    mend(cluster)
    wait_until(lambda: person.open("/acme/locked-tags/").status == 200)
    assert "v1.0.0" in person.open("/acme/locked-tags/").body.decode()
