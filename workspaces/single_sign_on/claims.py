"""What the provider says of a person, read with care. No database, no Django."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workspaces.text import find_bad_character

MAX_SUBJECT_LENGTH = 255
MAX_GROUP_LENGTH = 255
MAX_GROUPS = 2000
# Of the user name that is made of what the provider says. A number may follow.
MAX_SUGGESTED_LENGTH = 60


class BadClaimsError(Exception):
    """The provider says something of a person that cannot be. The message is for an operator."""


@dataclass(frozen=True)
class Person:
    """A person, as the provider describes them.

    `groups` are None where it says that it leaves them out, as Entra ID does where they are many.
    """

    subject: str
    suggested_name: str
    groups: frozenset[str] | None
    sid: str = ""


def read_person(claims: Mapping[str, Any], *, username_claim: str, groups_claim: str) -> Person:
    """Return whom verified claims are about. Raises BadClaimsError."""
    subject, sid = claims.get("sub"), claims.get("sid", "")
    if not _is_text(subject, MAX_SUBJECT_LENGTH):
        raise BadClaimsError("the claim sub is not a text of up to 255 characters")
    return Person(
        str(subject),
        suggest_username(claims, username_claim, str(subject)),
        read_groups(claims, groups_claim),
        sid if isinstance(sid, str) and _is_text(sid, MAX_SUBJECT_LENGTH) else "",
    )


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by a path with dots into claims that are objects, or None."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def suggest_username(claims: Mapping[str, Any], claim: str, subject: str) -> str:
    """Return a name that an account could have, from the claim, else from the address or `sub`."""
    for text in (find_claim(claims, claim), claims.get("email")):
        if isinstance(text, str) and (name := _to_username(text)):
            return name
    return f"user-{hashlib.sha256(subject.encode()).hexdigest()[:12]}"


def read_groups(claims: Mapping[str, Any], claim: str) -> frozenset[str] | None:
    """Return the groups of a person. No claim: none. Raises BadClaimsError."""
    found = find_claim(claims, claim)
    if found is None:
        elsewhere = claims.get("_claim_names")
        is_elsewhere = isinstance(elsewhere, Mapping) and claim in elsewhere
        return None if is_elsewhere or claims.get("hasgroups") else frozenset()
    groups = [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise BadClaimsError(f"the claim {claim} is not a list of texts")
    if len(groups) > MAX_GROUPS:
        raise BadClaimsError(f"the claim {claim} has more than {MAX_GROUPS} groups")
    # A group that no row could name gives nothing.
    return frozenset(each for each in groups if _is_text(each, MAX_GROUP_LENGTH))


def _to_username(text: str) -> str:
    # Cut before it is looked at: it may be of any length.
    plain = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9._@-]+", "-", plain)
    return re.sub(r"^[^a-z0-9]+", "", name)[:MAX_SUGGESTED_LENGTH].rstrip("-._@")


def _is_text(value: object, max_length: int) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= max_length
        and find_bad_character(value) is None
    )
