"""Add and remove registries besides the one of REGISTRY_URL, and say which workspaces are there.

Anyone who can say where a registry is decides where passwords and images go. So what is at a
registry stays there, a registry that is removed and added again takes none of its former tokens,
and only an operator changes an address.
"""

import secrets
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import inet_aton
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.db.models.functions import Now
from django.http.request import validate_host

from containers.models import Manifest, Repository, Tag
from containers.registries import MAX_REGISTRIES, stored_registries
from containers.registry.account import Accounts
from containers.registry.addresses import HOST_NAME, BadSettingError, parse_registry_url
from containers.registry.checkup import Finding, Outcome
from containers.sql import keep_repositories
from workspaces.access import Actor, ActorKind
from workspaces.actions.registry_accounts import unlink_accounts_of
from workspaces.authorization import require_site_admin
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import MAX_HOST_LENGTH, Registry, Workspace
from workspaces.text import find_bad_character, quote

MAX_USERNAME_LENGTH = 255


@transaction.atomic
def add_registry(
    name: str, url: str, host: str, accounts: str, username: str, *, actor: Actor
) -> Registry:
    """Add a registry. Raises ValidationError for what can't be, by field.

    And PermissionDenied if the actor is no site administrator.
    """
    # One after the other: the second one sees what the first one took.
    keep_repositories()
    require_site_admin(actor)
    if Registry.objects.count() >= MAX_REGISTRIES:
        raise ValidationError({"name": f"There are {MAX_REGISTRIES} registries: no more fit."})
    row = Registry(name=name, service=f"taglock-{name}-{secrets.token_hex(4)}")
    _fill(row, url, host, accounts, username, actor)
    stored_registries().forget()
    return row


@transaction.atomic
def change_registry(
    row: Registry, url: str, host: str, accounts: str, username: str, *, actor: Actor
) -> None:
    """Change how a registry is connected: an operator alone does.

    It is in force within seconds. Raises ValidationError, and PermissionDenied for anyone else.
    """
    if actor.kind is not ActorKind.SYSTEM:
        raise ValidationError("Only an operator changes a registry: add_registry.")
    keep_repositories()
    _fill(row, url, host, accounts, username, actor)
    stored_registries().forget()


@transaction.atomic
def remove_registry(row: Registry, *, actor: Actor) -> None:
    """Remove a registry that no workspace is at. Raises ValidationError if one is.

    And PermissionDenied if the actor is no site administrator.
    """
    # No workspace gets there meanwhile.
    keep_repositories()
    require_site_admin(actor)
    unlink_accounts_of(row, actor=actor)
    try:
        row.delete()
    except ProtectedError as error:
        raise ValidationError("Workspaces are at this registry, so it stays.") from error
    stored_registries().forget()


@transaction.atomic
def choose_registry(workspace: Workspace, registry: Registry | None, *, actor: Actor) -> bool:
    """Say which registry a workspace is at; return whether that changed anything.

    None is the one of REGISTRY_URL. Raises ValidationError if something of the workspace is known
    already, and PermissionDenied if the actor is no site administrator.
    """
    # One after the other. From here on no repository becomes known, and what is inserted afterwards
    # reads the change. The workspace's row is not locked: a push may hold it, and wait for this.
    keep_repositories()
    require_site_admin(actor)
    held = Workspace.objects.get(pk=workspace.pk)
    if held.registry_id == (registry.pk if registry else None):
        return False
    if held.is_archived:
        raise ValidationError(f"{held} is archived.")
    if registry is not None and not Registry.objects.filter(pk=registry.pk).exists():
        raise ValidationError(f"The registry {registry.name} was removed.")
    if any(model.objects.filter(workspace=held).exists() for model in (Repository, Tag, Manifest)):
        raise ValidationError(
            f"{held} has images already: a workspace can be moved only while it is empty."
        )
    held.registry = registry
    held.save(update_fields=["registry"])
    append_event(
        Event(
            EventKind.REGISTRY_CHOSEN,
            held.slug,
            details={"registry": registry.name if registry else ""},
        ),
        actor=actor,
    )
    workspace.registry = registry
    return True


def keep_findings(row: Registry, findings: list[Finding]) -> None:
    """Keep what a check of a registry found."""
    kept = [
        {
            "step": each.step,
            "outcome": each.outcome.value,
            "what": each.what,
            "advice": each.advice,
        }
        for each in findings
    ]
    changes: dict[str, Any] = {"findings": kept, "checked_at": Now()}
    if any(each.step == "Challenge" and each.outcome is not Outcome.FAILED for each in findings):
        changes["seen_at"] = Now()
    Registry.objects.filter(pk=row.pk).update(**changes)


def find_outcome(row: Registry) -> Outcome | None:
    """Return the worst that the last check of a registry found; None if it was never checked."""
    found = {each["outcome"] for each in row.findings}
    return next(
        (each for each in (Outcome.FAILED, Outcome.WARNING, Outcome.OK) if each in found), None
    )


def _fill(row: Registry, url: str, host: str, accounts: str, username: str, actor: Actor) -> None:
    row.url = _parse_url(url)
    row.host = _parse_host(host, actor)
    row.accounts, row.username = accounts, username
    _check_account(accounts, username)
    row.full_clean(exclude=["created_at"])
    row.save()


def _parse_url(text: str) -> str:
    try:
        url = parse_registry_url(text, "The address")
    except BadSettingError as error:
        raise ValidationError({"url": f"{error}."}) from error
    address = _read_address(urlsplit(url).hostname or "")
    # There a cloud's machines find their own credentials, and no one else's registry.
    if address and (address.is_link_local or address.is_multicast or address.is_unspecified):
        raise ValidationError({"url": "No registry is at such an address."})
    return url


def _read_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is, in any way that systems read one; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            # 2852039166, 0xa9fea9fe and 169.254.43518 are 169.254.169.254.
            return IPv4Address(inet_aton(host.rstrip(".")))
        except OSError:
            return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _parse_host(text: str, actor: Actor) -> str:
    host = text.rstrip(".").lower()
    if not HOST_NAME.fullmatch(host) or "_" in host or len(host) > MAX_HOST_LENGTH:
        raise ValidationError(
            {"host": "Enter a host name alone, such as images.example.org, without a port."}
        )
    site = urlsplit(settings.PUBLIC_URL).hostname
    # Where clients reach another registry, their credentials would come to this one. Any name that
    # the operator has set may be one; "*" names none.
    names = [name for name in settings.ALLOWED_HOSTS if name != "*"]
    is_taken = actor.kind is not ActorKind.SYSTEM and validate_host(host, names)
    if host == site or is_taken:
        raise ValidationError({"host": "This name already leads to the site or a registry."})
    return host


def _check_account(accounts: str, username: str) -> None:
    if accounts not in set(Accounts):
        raise ValidationError({"accounts": f"Choose {', '.join(Accounts)}."})
    if accounts == Accounts.TOKENS and username:
        raise ValidationError(
            {"username": "A registry that trusts Taglock's tokens needs no account: leave it out."}
        )
    if accounts == Accounts.REGISTRY and not username:
        raise ValidationError(
            {"username": "Enter Taglock's own account there: it looks at tags with it."}
        )
    is_bad = ":" in username or find_bad_character(username) or len(username) > MAX_USERNAME_LENGTH
    if is_bad:
        raise ValidationError({"username": f"{quote(username[:64])} can't be sent by HTTP Basic."})
