"""Accounts of people whom the identity provider vouches for: made, linked, paused, resumed."""

from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from workspaces.access import SYSTEM, Actor
from workspaces.actions.members import lock_person
from workspaces.actions.passwords import record_of_person
from workspaces.log.kinds import EventKind
from workspaces.models import User
from workspaces.secret_key import decrypt, encrypt
from workspaces.single_sign_on.claims import Person
from workspaces.single_sign_on.models import MAX_SUBJECT_LENGTH, Identity, SignOn
from workspaces.text import find_bad_character, quote

# How often the provider is asked whether it still vouches for someone.
CHECK_MINUTES = 5
# How long people keep what they have while the provider gives no answer.
AWAY_HOURS = 24
# How long a sign-in counts where the provider gave no refresh token to check by.
UNCHECKED_MINUTES = 15
# How many people may have names that differ by their number alone, until no number is tried.
_MAX_NUMBERED = 50


class NameTakenError(Exception):
    """Someone new would get the user name of an account that no provider vouches for."""

    def __init__(self, username: str) -> None:
        super().__init__(username)
        self.username = username


class SwitchedOffError(Exception):
    """The account is switched off, and not by the provider."""


@transaction.atomic
def begin_sign_on(issuer: str, person: Person, refresh_token: str) -> SignOn:
    """Return a new sign-on of the person, whose account is made if there is none.

    An account that was paused is resumed: the provider vouches for it again. Raises
    NameTakenError and SwitchedOffError.
    """
    known = Identity.objects.filter(issuer=issuer, subject=person.subject).first()
    if known is None:
        known = _make_account(issuer, person)
    user = lock_person(known.user)
    identity = Identity.objects.select_for_update().get(pk=known.pk)
    if not user.is_active:
        if not identity.is_paused:
            raise SwitchedOffError
        _resume(identity, user)
    keep_vouching(identity, refresh_token)
    return SignOn.objects.create(identity=identity, sid=person.sid)


def keep_vouching(identity: Identity, refresh_token: str) -> None:
    """Note that the provider has just vouched for a person, and by what it is asked next.

    The row is held by the caller's transaction.
    """
    identity.refresh_token = encrypt_token(refresh_token) if refresh_token else ""
    life = timedelta(hours=AWAY_HOURS) if refresh_token else timedelta(minutes=UNCHECKED_MINUTES)
    identity.vouched_until = Now() + life
    identity.next_check_at = Now() + timedelta(minutes=CHECK_MINUTES)
    identity.save(update_fields=["refresh_token", "vouched_until", "next_check_at"])


def encrypt_token(refresh_token: str) -> str:
    """Return a refresh token as the database keeps it."""
    return encrypt(refresh_token.encode(), settings.SECRET_KEY)


def encrypt_tokens_again(old_key: str) -> None:
    """Encrypt what the providers gave under this node's SECRET_KEY; it was under `old_key`.

    In the transaction of the change. Raises OtherSecretKeyError.
    """
    for identity in Identity.objects.select_for_update().exclude(refresh_token="").order_by("id"):
        refresh_token = decrypt(identity.refresh_token, old_key).decode()
        identity.refresh_token = encrypt_token(refresh_token)
        identity.save(update_fields=["refresh_token"])


@transaction.atomic
def pause_account(identity_id: int, *, used: str) -> bool:
    """Switch an account off that the provider no longer vouches for; return whether that is done.

    It ends every session, and what the person's tokens and roles give. `used` is the refresh token,
    as it is stored, that the provider refused: where it was replaced since, they have signed in
    again, and nothing happens.
    """
    known = Identity.objects.get(pk=identity_id)
    user = lock_person(known.user)
    identity = Identity.objects.select_for_update().get(pk=identity_id)
    if identity.refresh_token != used:
        return False
    identity.sign_ons.all().delete()
    identity.refresh_token = ""
    identity.vouched_until = Now()
    if user.is_active:
        identity.is_paused = True
        user.is_active = False
        user.save(update_fields=["is_active"])
        record_of_person(user, EventKind.ACCOUNT_PAUSED, actor=SYSTEM)
    identity.save(update_fields=["refresh_token", "vouched_until", "is_paused"])
    return True


@transaction.atomic
def link_identity(user: User, issuer: str, subject: str, *, actor: Actor) -> Identity:
    """Let the provider vouch for an account from now on, which ends its password.

    Raises ValidationError where one of both is linked already.
    """
    user = lock_person(user)
    if not 0 < len(subject) <= MAX_SUBJECT_LENGTH or find_bad_character(subject):
        raise ValidationError(f"{quote(subject)} is not an id that a provider gives.")
    if Identity.objects.filter(user=user).exists():
        raise ValidationError(f"{user.username} is linked already. Unlink the account first.")
    if other := Identity.objects.filter(issuer=issuer, subject=subject).first():
        raise ValidationError(
            f"{other.user.username} is the account of this person at the provider already."
        )
    user.set_unusable_password()
    user.save(update_fields=["password"])
    identity = Identity.objects.create(user=user, issuer=issuer, subject=subject)
    record_of_person(user, EventKind.SIGN_ON_LINKED, actor=actor)
    return identity


@transaction.atomic
def unlink_identity(user: User, *, actor: Actor) -> bool:
    """Let no provider vouch for an account any more; return whether one did.

    Every session that began there ends. The account has no password, until someone sets one. One
    that was paused is resumed, without the personal access tokens that it had.
    """
    user = lock_person(user)
    identity = Identity.objects.select_for_update().filter(user=user).first()
    if identity is None:
        return False
    if identity.is_paused:
        user.personal_tokens.all().delete()
        _resume(identity, user)
    identity.delete()
    record_of_person(user, EventKind.SIGN_ON_UNLINKED, actor=actor)
    return True


def _resume(identity: Identity, user: User) -> None:
    identity.is_paused = False
    identity.save(update_fields=["is_paused"])
    user.is_active = True
    user.save(update_fields=["is_active"])
    record_of_person(user, EventKind.ACCOUNT_RESUMED, actor=SYSTEM)


def _make_account(issuer: str, person: Person) -> Identity:
    """Make an account for someone new. Raises NameTakenError.

    The name of another one whom this provider vouches for cannot be theirs: theirs gets a number.
    Any other account may well be theirs, or someone else's: that is not for the provider to say.
    """
    for number in range(1, _MAX_NUMBERED):
        name = person.suggested_name + (f"-{number}" if number > 1 else "")
        taken = User.objects.filter(username=name).select_related("identity").first()
        if taken is not None:
            if not hasattr(taken, "identity") or taken.identity.issuer != issuer:
                raise NameTakenError(name)
            continue
        user = User(username=name)
        user.set_unusable_password()
        user.full_clean(exclude=["password"])
        try:
            with transaction.atomic():
                user.save(force_insert=True)
                return Identity.objects.create(user=user, issuer=issuer, subject=person.subject)
        except IntegrityError:
            # At the same moment, from another tab: of the same person, or of the same name.
            if found := Identity.objects.filter(issuer=issuer, subject=person.subject).first():
                return found
    raise NameTakenError(person.suggested_name)
