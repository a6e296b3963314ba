"""The keys in the database: every node signs and trusts the same, and changes are known in time."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from containers.models import TokenKey
from containers.tokens import stored_keys
from containers.tokens.keys import TokenKeyError, make_key
from containers.tokens.rotation import (
    encrypt_again,
    make_first_key,
    prepare_next_key,
    read_bundle,
    replace_all_keys,
    retire_old_keys,
    use_next_key,
)
from containers.tokens.stored_keys import KNOWN_SECONDS, MAX_AGE_SECONDS, StoredKeys
from containers.tokens.tokens import TAGLOCK, InvalidTokenError, read_token, sign_token
from tests.at_once import at_once
from tests.services.accounts import OwnKeys
from workspaces.secret_key import OtherSecretKeyError

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

UNKNOWN = 43 * "A"


class Clock:
    """A process's clock, which goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(stored_keys, "LOOK_SECONDS", 2.0)
        monkeypatch.setattr(stored_keys, "MAX_AGE_SECONDS", MAX_AGE_SECONDS)
        monkeypatch.setattr(stored_keys, "KNOWN_SECONDS", KNOWN_SECONDS)
        monkeypatch.setattr("containers.tokens.stored_keys.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def sign(keys: StoredKeys) -> str:
    return sign_token(keys.find_signing_key(), TAGLOCK, [], int(time.time()))


def is_trusted(token: str, keys: StoredKeys) -> bool:
    try:
        read_token(token, keys)
    except InvalidTokenError:
        return False
    return True


def test_the_private_key_is_stored_encrypted() -> None:
    (row,) = TokenKey.objects.all()
    assert "PRIVATE" not in row.private_key
    assert "PRIVATE" not in read_bundle()
    assert read_bundle() == row.certificate


def test_a_key_that_is_there_stays() -> None:
    before = list(TokenKey.objects.values_list())
    make_first_key()
    assert list(TokenKey.objects.values_list()) == before


@pytest.mark.django_db(transaction=True)
def test_nodes_that_are_set_up_together_agree_on_one_key() -> None:
    before = list(TokenKey.objects.all())
    TokenKey.objects.all().delete()
    try:
        at_once([make_first_key] * 6)
        assert TokenKey.objects.count() == 1
    finally:
        TokenKey.objects.all().delete()
        TokenKey.objects.bulk_create(before)


def test_no_two_keys_sign(db: None) -> None:
    made = make_key()
    with pytest.raises(IntegrityError), transaction.atomic():
        TokenKey.objects.create(
            key_id=made.id, role="signing", certificate=made.certificate, private_key="x"
        )


@pytest.mark.parametrize("use", [prepare_next_key, use_next_key, retire_old_keys, read_bundle])
def test_without_a_key_every_step_says_what_makes_one(use: Callable[[], object]) -> None:
    TokenKey.objects.all().delete()
    keys = StoredKeys()
    for each in (use, keys.find_signing_key, lambda: keys.find_trusted_key(UNKNOWN)):
        with pytest.raises(TokenKeyError, match=r"manage\.py migrate makes the first one"):
            each()
    assert not TokenKey.objects.exists()
    make_first_key()
    assert is_trusted(sign(keys), StoredKeys())


# A change of keys.


def test_tokens_of_old_and_new_key_are_trusted_throughout_a_change(clock: Clock) -> None:
    one, other = StoredKeys(), StoredKeys()
    old = sign(one)
    prepare_next_key()
    still_old = sign(other)
    use_next_key()
    clock.now += 2
    new = sign(other)
    for node in (one, other, StoredKeys()):
        assert [is_trusted(token, node) for token in (old, still_old, new)] == [True] * 3
    retire_old_keys()
    clock.now += 2
    for node in (one, other, StoredKeys()):
        assert [is_trusted(token, node) for token in (old, still_old, new)] == [False, False, True]
    assert read_bundle().count("BEGIN CERTIFICATE") == 1


def test_a_former_key_signs_nothing_more_and_its_private_half_is_gone() -> None:
    prepare_next_key()
    use_next_key()
    former = TokenKey.objects.get(role="former")
    assert former.private_key == ""


def test_every_step_can_be_taken_again() -> None:
    prepare_next_key()
    prepared = read_bundle()
    prepare_next_key()
    assert read_bundle() == prepared
    assert prepared.count("BEGIN CERTIFICATE") == 2
    use_next_key()
    assert read_bundle() == prepared
    retire_old_keys()
    retire_old_keys()
    assert is_trusted(sign(StoredKeys()), StoredKeys())


def test_steps_that_are_not_due_are_refused() -> None:
    with pytest.raises(TokenKeyError, match="prepare one first"):
        use_next_key()
    prepare_next_key()
    with pytest.raises(TokenKeyError, match="use it first"):
        retire_old_keys()


# How soon a process knows.


def test_a_known_key_costs_a_statement_every_two_seconds(
    clock: Clock, django_assert_num_queries: Any
) -> None:
    keys = StoredKeys()
    token = sign(keys)
    for passed, count in ((0, 0), (1.9, 0), (0.2, 1), (1, 0)):
        clock.now += passed
        with django_assert_num_queries(count):
            assert is_trusted(token, keys)
            sign(keys)


def test_a_new_key_is_trusted_at_once(clock: Clock) -> None:
    keys, other = StoredKeys(), StoredKeys()
    assert is_trusted(sign(keys), keys)
    prepare_next_key()
    use_next_key()
    assert is_trusted(sign(other), keys)


def test_only_what_may_be_a_key_is_looked_for(django_assert_num_queries: Any) -> None:
    keys = StoredKeys()
    token = sign_token(OwnKeys().find_signing_key(), TAGLOCK, [], int(time.time()))
    keys.find_signing_key()
    with django_assert_num_queries(1):
        assert not is_trusted(token, keys)
    with django_assert_num_queries(0):
        assert keys.find_trusted_key("nonsense") is None


def test_while_one_thread_reads_them_again_others_go_on(
    clock: Clock, django_assert_num_queries: Any
) -> None:
    keys = StoredKeys()
    token = sign(keys)
    clock.now += 3
    others = []

    def meanwhile(execute: Any, *statement: Any) -> Any:
        others.append(is_trusted(token, keys))
        return execute(*statement)

    with django_assert_num_queries(1), connection.execute_wrapper(meanwhile):
        assert is_trusted(token, keys)
    assert others == [True]


def test_no_key_is_trusted_for_longer_than_it_may_be_known(clock: Clock) -> None:
    keys = StoredKeys()
    token = sign(keys)
    with away():
        assert is_trusted(token, keys)
        clock.now += MAX_AGE_SECONDS
        with pytest.raises(OperationalError):
            is_trusted(token, keys)
        # What was read before is good enough to sign with: registries trust it for longer.
        assert sign(keys)
        with pytest.raises(OperationalError):
            sign(StoredKeys())


def test_a_call_of_the_registry_is_signed_without_a_read(
    clock: Clock, django_assert_num_queries: Any
) -> None:
    keys = StoredKeys()
    first = keys.find_signing_key()
    clock.now += KNOWN_SECONDS - 1
    with django_assert_num_queries(0):
        assert keys.find_known_signing_key() == first
    prepare_next_key()
    use_next_key()
    clock.now += 1
    with django_assert_num_queries(1):
        assert keys.find_known_signing_key() != first


@contextmanager
def away() -> Any:
    """Let every statement fail."""

    def fail(*args: Any) -> None:
        raise OperationalError("away")

    with connection.execute_wrapper(fail):
        yield


# Another SECRET_KEY.


def test_a_node_with_another_secret_key_trusts_and_does_not_sign(settings: Any) -> None:
    token = sign(StoredKeys())
    settings.SECRET_KEY = 50 * "o"
    assert is_trusted(token, StoredKeys())
    with pytest.raises(TokenKeyError, match=r"^node .* has another SECRET_KEY than the node that"):
        sign(StoredKeys())


def test_under_a_new_secret_key_the_same_keys_go_on(settings: Any) -> None:
    before, running = settings.SECRET_KEY, StoredKeys()
    prepare_next_key()
    token = sign(running)
    settings.SECRET_KEY = 50 * "n"
    with pytest.raises(OtherSecretKeyError):
        encrypt_again(50 * "w")
    encrypt_again(before)
    assert is_trusted(sign(StoredKeys()), running)
    assert is_trusted(token, StoredKeys())
    use_next_key()
    assert is_trusted(sign(StoredKeys()), running)
    # A process that still has the key before signs on until it is started again.
    settings.SECRET_KEY = before
    assert sign(running)


def test_keys_whose_secret_key_is_lost_are_replaced(settings: Any) -> None:
    token = sign(StoredKeys())
    settings.SECRET_KEY = 50 * "n"
    replace_all_keys()
    assert not is_trusted(token, StoredKeys())
    assert is_trusted(sign(StoredKeys()), StoredKeys())
