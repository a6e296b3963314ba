"""The keys of tokens, in the database: made once, and changed without a failed push.

Every node signs with the same key and trusts the same ones. Each step can be taken again.
"""

from django.conf import settings
from django.db import transaction

from containers.models import TokenKey
from containers.tokens.keys import NewKey, TokenKeyError, make_key
from workspaces.secret_key import decrypt, encrypt

_NEXT, _SIGNING, _FORMER = TokenKey.Role.NEXT, TokenKey.Role.SIGNING, TokenKey.Role.FORMER


def make_first_key() -> None:
    """Make a key if there is none. Nodes that do so at once agree on one."""
    if not TokenKey.objects.exists():
        TokenKey.objects.get_or_create(role=_SIGNING, defaults=_to_fields(make_key()))


@transaction.atomic
def prepare_next_key() -> None:
    """Step 1 of a change: make the next key, and trust both. Raises TokenKeyError."""
    if _NEXT not in _hold_keys():
        TokenKey.objects.create(role=_NEXT, **_to_fields(make_key()))


@transaction.atomic
def use_next_key() -> None:
    """Step 2: sign with the next key. The old one is still trusted. Raises TokenKeyError."""
    if _NEXT not in _hold_keys():
        raise TokenKeyError("there is no next key: prepare one first, and restart the registry")
    TokenKey.objects.filter(role=_SIGNING).update(role=_FORMER, private_key="")
    TokenKey.objects.filter(role=_NEXT).update(role=_SIGNING)


@transaction.atomic
def retire_old_keys() -> None:
    """Step 3: trust only the key that signs. Tokens of the old ones are refused within seconds.

    Raises TokenKeyError while a next key is waiting.
    """
    if _NEXT in _hold_keys():
        raise TokenKeyError("a next key is waiting: use it first")
    TokenKey.objects.filter(role=_FORMER).delete()


def read_bundle() -> str:
    """Return the certificates that a registry should trust, as PEM. Raises TokenKeyError."""
    certificates = list(
        TokenKey.objects.order_by("created_at").values_list("certificate", flat=True)
    )
    if not certificates:
        raise TokenKeyError("there is no key: manage.py migrate makes the first one")
    return "".join(certificates)


def encrypt_again(old_secret_key: str) -> None:
    """Encrypt the private keys under SECRET_KEY, and no longer under the one before it.

    Raises OtherSecretKeyError, and changes nothing then. Within a transaction.
    """
    for key in TokenKey.objects.select_for_update().exclude(private_key=""):
        private = decrypt(key.private_key, old_secret_key)
        key.private_key = encrypt(private, settings.SECRET_KEY)
        key.save(update_fields=["private_key"])


def replace_all_keys() -> None:
    """Give up the keys, which can no longer be decrypted, and make a new one. In a transaction."""
    TokenKey.objects.all().delete()
    make_first_key()


def _hold_keys() -> set[str]:
    """Hold the keys, and return their roles. Raises TokenKeyError if there are none."""
    roles = set(TokenKey.objects.select_for_update().values_list("role", flat=True))
    if not roles:
        raise TokenKeyError("there is no key: manage.py migrate makes the first one")
    return roles


def _to_fields(key: NewKey) -> dict[str, str]:
    return {
        "key_id": key.id,
        "certificate": key.certificate,
        "private_key": encrypt(key.private_key, settings.SECRET_KEY),
    }
