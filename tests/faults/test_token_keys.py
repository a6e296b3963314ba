"""The keys of registry tokens are changed while pushes go on, as `token_keys` says it."""

from collections.abc import Iterator

import pytest
from django.db import transaction

from containers.models import TokenKey
from containers.tokens.stored_keys import token_keys
from packages_site.local import BUNDLE_FILE
from tests.faults.scene import Scene, assert_refused, assert_undecided, locked_to
from tests.services.nursery import nursery
from tests.services.parts import wait_until
from tests.services.registry_user import Repository, digest_of, send

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _same_keys_afterwards(scene: Scene) -> Iterator[None]:
    """Give the other clusters of the same database the key back that their registries trust."""
    before = list(TokenKey.objects.all())
    yield
    with transaction.atomic():
        TokenKey.objects.all().delete()
        TokenKey.objects.bulk_create(before)
    token_keys().forget()
    scene.cluster.export_bundle()
    _restart_registry(scene, is_exported=True)
    # Until they look again, the gates sign their own tokens with a key that is gone.
    image = scene.make_image("with the first key")
    wait_until(lambda: _push_by_digest(scene, image) == {201})


def _push_by_digest(scene: Scene, image: bytes) -> set[int]:
    """Return what the gates answer."""
    gates = range(len(scene.gates))
    return {scene.push(digest_of(image), image, gate=each).status for each in gates}


def _take_step(scene: Scene, step: str, *arguments: str) -> None:
    """Run `token_keys` beside the cluster's processes, none of which is started again for it."""
    log = scene.cluster.folder / "token_keys.out"
    command = ("manage.py", "token_keys", step, *arguments)
    assert nursery().start(command, scene.cluster.whole_env, log).wait(60) == 0, log.read_text()
    token_keys().forget()


def _restart_registry(scene: Scene, *, is_exported: bool = False) -> None:
    if not is_exported:
        _take_step(scene, "export", str(scene.cluster.folder / BUNDLE_FILE))
    scene.cluster.registry.stop()
    scene.cluster.registry.start()


def _assert_everything_works(scene: Scene, tag: str) -> None:
    """Upload, push, refuse, pull and delete, with tokens that are signed now, at every gate."""
    one, two = scene.make_image(f"{tag} one"), scene.make_image(f"{tag} two")
    assert scene.push(tag, one).status == 201
    for number, _ in enumerate(scene.gates):
        assert scene.push(tag, one, gate=number).status == 201
        assert_refused(scene.push(tag, two, gate=number), one)
        assert scene.push("latest", two, gate=number).status == 201
        assert scene.delete(digest_of(two), gate=number).status == 202
    assert scene.edge.read(tag) == digest_of(one)
    assert scene.locks[tag] == locked_to(one)


def _try_with(scene: Scene, token: str, image: bytes) -> tuple[set[int], set[int]]:
    """Return what gates and registry answer to someone who has only this token."""
    login = f"Authorization: Bearer {token}\r\n"
    gates = {
        Repository(port, scene.name).put("latest", image, headers=login).status
        for port in scene.cluster.gate_ports
    }
    tags = f"/v2/{scene.name}/tags/list"
    ports = (scene.cluster.ports.registry, scene.cluster.ports.edge)
    return gates, {send(port, "GET", tags, headers=login).status for port in ports}


def test_keys_are_changed_while_everything_goes_on(scene: Scene) -> None:
    account = scene.edge.account
    assert account is not None
    image = scene.make_image("image")
    first_key = account.keys.find_signing_key().id
    _assert_everything_works(scene, "v1")

    _take_step(scene, "prepare")
    _assert_everything_works(scene, "v2")
    _restart_registry(scene)
    _assert_everything_works(scene, "v3")
    assert account.keys.find_signing_key().id == first_key
    old = account.sign(scene.name)

    _take_step(scene, "use")
    assert account.keys.find_signing_key().id != first_key
    _assert_everything_works(scene, "v4")
    assert _try_with(scene, old, image) == ({201}, {200})

    _take_step(scene, "retire")
    # Gates forget the old key within seconds. The registry reads its bundle once, when it starts.
    wait_until(lambda: _try_with(scene, old, image)[0] == {401})
    assert _try_with(scene, old, image) == ({401}, {200})
    _assert_everything_works(scene, "v5")
    _restart_registry(scene)
    assert _try_with(scene, old, image) == ({401}, {401})
    _assert_everything_works(scene, "v6")
    scene.assert_sound()


def test_a_registry_that_was_not_restarted_takes_nothing_and_no_name_is_held(scene: Scene) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("v1", one).status == 201
    _take_step(scene, "prepare")
    _take_step(scene, "use")
    # Within seconds the gates sign with the new key, which the registry does not trust.
    wait_until(lambda: _push_by_digest(scene, one) == {503})
    assert_undecided(scene.push("v2", two))
    assert_refused(scene.push("v1", two), one)
    assert scene.locks == {"v1": locked_to(one)}
    assert scene.open_writes == {}
    _restart_registry(scene)
    assert scene.push("v2", two).status == 201
    _take_step(scene, "retire")
    _restart_registry(scene)
    scene.assert_sound()
